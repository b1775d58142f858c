//! The checks that must pass before a slot is marked good, and what they mean together.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use service_kit::edge::chain;
use wire::v1::reports::Reason;

use crate::observe::Known;
use crate::ports::{DropInEnd, DropInResult, Ports};
use crate::state::{TrialBoot, Update};

/// What one check says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// In order.
    Good,
    /// Not in order yet, or not known yet.
    NotYet(String),
    /// Not in order, and no waiting will change that.
    Bad(String),
}

/// A check and what it says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// Which one; `branch` is the branch server's answer.
    pub name: &'static str,
    /// What it says.
    pub outcome: Outcome,
}

/// All checks together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// Every check passed, in one round.
    Healthy,
    /// None is bad, and some are not good yet.
    NotYet {
        /// What is waited for.
        why: Reason,
        /// The branch server does not answer.
        branch_silent: bool,
        /// Something else than the branch server is waited for.
        others: bool,
    },
    /// Some check is bad.
    Unhealthy(Reason),
}

const BRANCH: &str = "branch";

/// What the checks mean together: the first bad one decides.
pub fn judge(checks: &[Check]) -> Health {
    let mut waiting = Vec::new();
    for Check { name, outcome } in checks {
        match outcome {
            Outcome::Good => {}
            Outcome::NotYet(why) => waiting.push((*name, why.as_str())),
            Outcome::Bad(why) => return Health::Unhealthy(Reason::new("unhealthy", format!("{name}: {why}"))),
        }
    }
    if waiting.is_empty() {
        return Health::Healthy;
    }
    let text = waiting.iter().map(|(name, why)| format!("{name}: {why}")).collect::<Vec<_>>().join("; ");
    let branch_silent = waiting.iter().any(|(name, _)| *name == BRANCH);
    let others = waiting.iter().any(|(name, _)| *name != BRANCH);
    let code = if others { "not-healthy-yet" } else { "branch-unreachable" };
    Health::NotYet { why: Reason::new(code, text), branch_silent, others }
}

impl Known<Health> {
    /// What is waited for, in words.
    pub fn not_yet(&self) -> Reason {
        match self {
            Self::Is(Health::NotYet { why, .. } | Health::Unhealthy(why)) => why.clone(),
            Self::Is(Health::Healthy) => {
                Reason::new("boot-state-unknown", "healthy, but the boot state cannot be read")
            }
            Self::Unknown(why) => Reason::new("health-unknown", why),
        }
    }
}

/// Runs every check once. `newest` is the latest time that was written before this boot.
pub async fn check(ports: &Ports, update: &Update, boot: &TrialBoot, newest: DateTime<Utc>) -> Vec<Check> {
    vec![
        Check { name: "version", outcome: version(ports, update) },
        Check { name: "time", outcome: time(ports.clock.now(), newest) },
        Check { name: "units", outcome: units(ports, boot.failed_before.as_ref()).await },
        Check { name: "drop-ins", outcome: drop_ins(ports).await },
        Check { name: BRANCH, outcome: branch(ports).await },
    ]
}

/// That the root is the target slot was seen on the kernel command line; here, that it holds what was written.
fn version(ports: &Ports, update: &Update) -> Outcome {
    match ports.host.image_version() {
        Ok(found) if found == update.version => Outcome::Good,
        Ok(found) => Outcome::Bad(format!("the slot says it is {found} and should be {}", update.version)),
        Err(error) => Outcome::NotYet(chain(&error)),
    }
}

fn time(now: DateTime<Utc>, newest: DateTime<Utc>) -> Outcome {
    if now >= newest {
        return Outcome::Good;
    }
    Outcome::NotYet(format!(
        "the clock shows {}, before {}, when the update was activated",
        now.format("%F %T"),
        newest.format("%F %T")
    ))
}

async fn units(ports: &Ports, before: Option<&BTreeSet<String>>) -> Outcome {
    let Some(before) = before else { return Outcome::Good };
    match ports.host.failed_units().await {
        Ok(now) => {
            let new: Vec<String> = now.unwrap_or_default().difference(before).take(10).cloned().collect();
            if new.is_empty() { Outcome::Good } else { Outcome::Bad(format!("failed units: {}", new.join(", "))) }
        }
        Err(error) => Outcome::NotYet(chain(&error)),
    }
}

async fn drop_ins(ports: &Ports) -> Outcome {
    let results = match ports.drop_ins.run().await {
        Ok(results) => results,
        Err(error) => return Outcome::NotYet(chain(&error)),
    };
    let worst = |end: &DropInEnd| match end {
        DropInEnd::Healthy => 0,
        DropInEnd::NotYet => 1,
        DropInEnd::Unhealthy | DropInEnd::TimedOut => 2,
    };
    match results.iter().rev().max_by_key(|r| worst(&r.end)) {
        None | Some(DropInResult { end: DropInEnd::Healthy, .. }) => Outcome::Good,
        Some(result) => {
            let name = result.program.file_name().unwrap_or_default().to_string_lossy();
            let tail = if result.tail.is_empty() { String::new() } else { format!(": {}", result.tail) };
            match result.end {
                DropInEnd::Healthy | DropInEnd::NotYet => Outcome::NotYet(format!("{name} says not yet{tail}")),
                DropInEnd::Unhealthy => Outcome::Bad(format!("{name} failed{tail}")),
                DropInEnd::TimedOut => Outcome::Bad(format!("{name} did not end within its time{tail}")),
            }
        }
    }
}

async fn branch(ports: &Ports) -> Outcome {
    match ports.branch.healthy().await {
        Ok(()) => Outcome::Good,
        Err(error) => Outcome::NotYet(chain(&error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &'static str, outcome: Outcome) -> Check {
        Check { name, outcome }
    }

    #[test]
    fn a_bad_check_decides_whatever_the_others_wait_for() {
        let checks = [
            check(BRANCH, Outcome::NotYet("silent".into())),
            check("drop-ins", Outcome::Bad("10-printer failed: no paper".into())),
        ];
        let Health::Unhealthy(reason) = judge(&checks) else { panic!("not unhealthy") };
        assert_eq!(
            (reason.code.as_str(), reason.text.as_str()),
            ("unhealthy", "drop-ins: 10-printer failed: no paper")
        );
    }

    #[test]
    fn a_silent_branch_is_told_apart_from_other_waits() {
        let silent = check(BRANCH, Outcome::NotYet("silent".into()));
        let other = check("time", Outcome::NotYet("1970".into()));
        assert!(matches!(
            judge(std::slice::from_ref(&silent)),
            Health::NotYet { branch_silent: true, others: false, .. }
        ));
        assert!(matches!(judge(&[silent, other.clone()]), Health::NotYet { branch_silent: true, others: true, .. }));
        assert!(matches!(judge(&[other]), Health::NotYet { branch_silent: false, others: true, .. }));
        assert_eq!(judge(&[check("time", Outcome::Good)]), Health::Healthy);
    }
}
