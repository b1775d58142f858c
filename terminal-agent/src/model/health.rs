//! What the checks of a trial's health mean together.

use wire::ReasonCode;
use wire::v1::reports::Reason;

/// What one check says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CheckOutcome {
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
    pub outcome: CheckOutcome,
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

/// The check that asks the branch server.
pub const BRANCH: &str = "branch";

/// What the checks mean together: the first bad one decides.
pub fn judge(checks: &[Check]) -> Health {
    let mut waiting = Vec::new();
    for Check { name, outcome } in checks {
        match outcome {
            CheckOutcome::Good => {}
            CheckOutcome::NotYet(why) => waiting.push((*name, why.as_str())),
            CheckOutcome::Bad(why) => {
                return Health::Unhealthy(Reason::new(ReasonCode::Unhealthy, format!("{name}: {why}")));
            }
        }
    }
    if waiting.is_empty() {
        return Health::Healthy;
    }
    let text = waiting.iter().map(|(name, why)| format!("{name}: {why}")).collect::<Vec<_>>().join("; ");
    let branch_silent = waiting.iter().any(|(name, _)| *name == BRANCH);
    let others = waiting.iter().any(|(name, _)| *name != BRANCH);
    let code = if others { ReasonCode::NotHealthyYet } else { ReasonCode::BranchUnreachable };
    Health::NotYet { why: Reason::new(code, text), branch_silent, others }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &'static str, outcome: CheckOutcome) -> Check {
        Check { name, outcome }
    }

    #[test]
    fn a_bad_check_decides_whatever_the_others_wait_for() {
        let checks = [
            check(BRANCH, CheckOutcome::NotYet("silent".into())),
            check("drop-ins", CheckOutcome::Bad("10-printer failed: no paper".into())),
        ];
        let Health::Unhealthy(reason) = judge(&checks) else { panic!("not unhealthy") };
        assert_eq!(
            (reason.code.as_str(), reason.text.as_str()),
            ("unhealthy", "drop-ins: 10-printer failed: no paper")
        );
    }

    #[test]
    fn a_silent_branch_is_told_apart_from_other_waits() {
        let silent = check(BRANCH, CheckOutcome::NotYet("silent".into()));
        let other = check("time", CheckOutcome::NotYet("1970".into()));
        assert!(matches!(
            judge(std::slice::from_ref(&silent)),
            Health::NotYet { branch_silent: true, others: false, .. }
        ));
        assert!(matches!(judge(&[silent, other.clone()]), Health::NotYet { branch_silent: true, others: true, .. }));
        assert!(matches!(judge(&[other]), Health::NotYet { branch_silent: false, others: true, .. }));
        assert_eq!(judge(&[check("time", CheckOutcome::Good)]), Health::Healthy);
    }
}
