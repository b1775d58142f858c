//! Runs the checks that must pass before a slot is marked good.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use service_kit::edge::chain;

use crate::model::health::{BRANCH, Check, CheckOutcome};
use crate::model::update::{TrialBoot, Update};
use crate::ports::{DropInEnd, DropInResult, Ports};

/// The times that the clock is judged by.
#[derive(Debug, Clone, Copy)]
pub struct Times {
    /// The clock, or the newest verified time if that is later.
    ///
    /// Everything else is judged by this time too, so that a machine without a battery needs no more.
    pub judged: DateTime<Utc>,
    /// The time of the last write before this boot.
    pub newest: DateTime<Utc>,
}

/// Runs every check once.
pub async fn check(ports: &Ports, update: &Update, boot: &TrialBoot, times: Times) -> Vec<Check> {
    vec![
        Check { name: "version", outcome: version(ports, update) },
        Check { name: "time", outcome: time(ports.clock.now(), times) },
        Check { name: "units", outcome: units(ports, boot.failed_before.as_ref()).await },
        Check { name: "drop-ins", outcome: drop_ins(ports).await },
        Check { name: BRANCH, outcome: branch(ports).await },
    ]
}

/// That the root is the target slot was seen on the kernel command line.
///
/// Here, that it holds what was written.
fn version(ports: &Ports, update: &Update) -> CheckOutcome {
    match ports.host.image_version() {
        Ok(found) if found == update.version => CheckOutcome::Good,
        Ok(found) => CheckOutcome::Bad(format!("the slot contains version {found}, expected {}", update.version)),
        Err(error) => CheckOutcome::NotYet(chain(&error)),
    }
}

fn time(now: DateTime<Utc>, Times { judged, newest }: Times) -> CheckOutcome {
    if judged >= newest {
        return CheckOutcome::Good;
    }
    CheckOutcome::NotYet(format!(
        "the clock shows {}, before {}, when the update was activated",
        now.format("%F %T"),
        newest.format("%F %T")
    ))
}

async fn units(ports: &Ports, before: Option<&BTreeSet<String>>) -> CheckOutcome {
    let Some(before) = before else { return CheckOutcome::Good };
    match ports.host.failed_units().await {
        Ok(now) => {
            let new: Vec<String> = now.unwrap_or_default().difference(before).take(10).cloned().collect();
            if new.is_empty() {
                CheckOutcome::Good
            } else {
                CheckOutcome::Bad(format!("failed units: {}", new.join(", ")))
            }
        }
        Err(error) => CheckOutcome::NotYet(chain(&error)),
    }
}

async fn drop_ins(ports: &Ports) -> CheckOutcome {
    let results = match ports.drop_ins.run().await {
        Ok(results) => results,
        Err(error) => return CheckOutcome::NotYet(chain(&error)),
    };
    let worst = |end: &DropInEnd| match end {
        DropInEnd::Healthy => 0,
        DropInEnd::NotYet => 1,
        DropInEnd::Unhealthy | DropInEnd::TimedOut => 2,
    };
    match results.iter().rev().max_by_key(|r| worst(&r.end)) {
        None | Some(DropInResult { end: DropInEnd::Healthy, .. }) => CheckOutcome::Good,
        Some(result) => {
            let name = result.program.file_name().unwrap_or_default().to_string_lossy();
            let tail = if result.tail.is_empty() { String::new() } else { format!(": {}", result.tail) };
            match result.end {
                DropInEnd::Healthy | DropInEnd::NotYet => CheckOutcome::NotYet(format!("{name} says not yet{tail}")),
                DropInEnd::Unhealthy => CheckOutcome::Bad(format!("{name} failed{tail}")),
                DropInEnd::TimedOut => CheckOutcome::Bad(format!("{name} exceeded its time limit{tail}")),
            }
        }
    }
}

async fn branch(ports: &Ports) -> CheckOutcome {
    match ports.branch.healthy().await {
        Ok(()) => CheckOutcome::Good,
        Err(error) => CheckOutcome::NotYet(chain(&error)),
    }
}
