//! Decides whether an offered plan becomes the branch's plan. Pure.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use fleet_types::{BranchName, Digest};
use wire::v1::plan::{ArtifactRef, Plan};
use wire::{Envelope, EnvelopeError, PLAN_PAYLOAD_TYPE};

/// Most steps and packages of a plan, together.
pub const MAX_STEPS: usize = 1000;

/// Largest artifact in bytes (8 TiB): no disk image is larger, and sums of them stay within 64 bits.
pub const MAX_ARTIFACT: u64 = 8 << 40;

/// The plan that is kept, as far as the decision needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// Its serial.
    pub serial: u64,
    /// Its envelope.
    pub envelope: Envelope,
}

/// What becomes of an offered plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Offer {
    /// It is the one that is kept.
    Unchanged,
    /// It takes the place of the one that is kept.
    Accepted(Plan),
}

/// Why an offered plan is refused.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// Not an envelope around a plan.
    #[error("The plan that head office offers cannot be read: update this branch server, or see head office's log.")]
    Unreadable(#[source] EnvelopeError),
    /// Another format than 1.
    #[error("The plan that head office offers has format {0}, this branch server reads format 1: update it.")]
    Format(u32),
    /// Made for another branch.
    #[error("The plan that head office offers is for branch {offered}, this is branch {here}: see head office's log.")]
    WrongBranch {
        /// Whose it is.
        offered: BranchName,
        /// Who we are.
        here: BranchName,
    },
    /// Older than the one that is kept.
    #[error(
        "Head office offers plan {offered}, which is older than plan {kept} that this branch follows: if head office \
         was restored from a backup, assign again so that a newer plan is made."
    )]
    Older {
        /// Its serial.
        offered: u64,
        /// The serial that is kept.
        kept: u64,
    },
    /// The same serial with other content.
    #[error("Head office offers a second, different plan {0}: assign again so that a newer plan is made.")]
    Changed(u64),
    /// Past its time.
    #[error("Plan {serial} of head office expired at {expires}: assign again, and check the clocks of both servers.")]
    Expired {
        /// Its serial.
        serial: u64,
        /// When it expired.
        expires: DateTime<Utc>,
    },
    /// Beyond a bound, or at odds with itself.
    #[error("Plan {serial} of head office cannot be followed: {why}. See head office's log, then assign again.")]
    Unsound {
        /// Its serial.
        serial: u64,
        /// What is wrong with it.
        why: String,
    },
}

impl Refusal {
    /// Its stable code, in kebab case.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Unreadable(e) => e.code(),
            Self::Format(_) => "plan-format",
            Self::WrongBranch { .. } => "plan-wrong-branch",
            Self::Older { .. } => "plan-older",
            Self::Changed(_) => "plan-changed",
            Self::Expired { .. } => "plan-expired",
            Self::Unsound { .. } => "plan-unsound",
        }
    }
}

/// Judges the plan that head office offers to `branch`, which follows `kept`.
///
/// # Errors
/// The reason for which it is refused; the branch then goes on with what it has.
pub fn judge(
    offered: &Envelope,
    branch: &BranchName,
    kept: Option<&Kept>,
    now: DateTime<Utc>,
) -> Result<Offer, Refusal> {
    if kept.is_some_and(|k| k.envelope == *offered) {
        // Verified when it was accepted; that it may have expired since does not take it away.
        return Ok(Offer::Unchanged);
    }
    let plan: Plan = offered.open(PLAN_PAYLOAD_TYPE).map_err(Refusal::Unreadable)?;
    if plan.format != 1 {
        return Err(Refusal::Format(plan.format));
    }
    if plan.branch != *branch {
        return Err(Refusal::WrongBranch { offered: plan.branch, here: branch.clone() });
    }
    match kept {
        Some(k) if plan.serial < k.serial => return Err(Refusal::Older { offered: plan.serial, kept: k.serial }),
        Some(k) if plan.serial == k.serial => return Err(Refusal::Changed(plan.serial)),
        _ => {}
    }
    if plan.expires <= now {
        return Err(Refusal::Expired { serial: plan.serial, expires: plan.expires });
    }
    sound(&plan).map_err(|why| Refusal::Unsound { serial: plan.serial, why })?;
    Ok(Offer::Accepted(plan))
}

/// Whether the plan stays within bounds and says one thing about each artifact.
fn sound(plan: &Plan) -> Result<(), String> {
    if plan.serial == 0 || i64::try_from(plan.serial).is_err() {
        return Err("its serial is out of range".to_owned());
    }
    let entries = plan.entries().count();
    if entries > MAX_STEPS {
        return Err(format!("it has {entries} steps and packages, at most {MAX_STEPS} are followed"));
    }
    let mut seen: BTreeMap<Digest, (&ArtifactRef, Digest, u64)> = BTreeMap::new();
    for step in plan.entries() {
        let (artifact, payload) = (&step.artifact, &step.payload);
        if artifact.length > MAX_ARTIFACT || payload.length > MAX_ARTIFACT {
            return Err(format!("artifact {} is larger than {MAX_ARTIFACT} bytes", artifact.sha256.short()));
        }
        if artifact.index_length > artifact::max_index_len(payload.length) || artifact.index_length > artifact.length {
            return Err(format!("the index of artifact {} is larger than any can be", artifact.sha256.short()));
        }
        if payload.name.len() > 256 || payload.name.chars().any(char::is_control) {
            return Err(format!("the name of payload {} is not fit to be shown", payload.sha256.short()));
        }
        let said = (artifact, payload.sha256, payload.length);
        if *seen.entry(artifact.sha256).or_insert(said) != said {
            return Err(format!("it says two things about artifact {}", artifact.sha256.short()));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::TimeDelta;
    use wire::v1::plan::{PayloadRef, Step};

    fn now() -> DateTime<Utc> {
        "2030-01-10T12:00:00Z".parse().unwrap()
    }

    fn north() -> BranchName {
        "north".parse().unwrap()
    }

    fn step() -> Step {
        Step {
            terminals: vec!["till-1".parse().unwrap()],
            product: "till".parse().unwrap(),
            version: fleet_types::Version::new(2, 0, 0),
            manifest: [1; 32].into(),
            payload: PayloadRef { name: "root".into(), sha256: [2; 32].into(), length: 1 << 30 },
            artifact: ArtifactRef {
                sha256: [3; 32].into(),
                length: 1 << 28,
                index_sha256: [4; 32].into(),
                index_length: 200,
                info_hash: [5; 20].into(),
            },
            downgrade: false,
        }
    }

    fn plan(serial: u64) -> Plan {
        let steps = vec![step()];
        let (issued, expires) = (now(), now() + TimeDelta::days(30));
        Plan { format: 1, branch: north(), serial, issued, expires, steps, packages: Vec::new() }
    }

    fn seal(plan: &Plan) -> Envelope {
        Envelope::unsigned(PLAN_PAYLOAD_TYPE, plan).unwrap()
    }

    fn kept(serial: u64) -> Kept {
        Kept { serial, envelope: seal(&plan(serial)) }
    }

    fn refusal(plan: &Plan, kept: Option<&Kept>) -> String {
        judge(&seal(plan), &north(), kept, now()).unwrap_err().to_string()
    }

    #[test]
    fn the_first_plan_and_a_newer_one_are_accepted() {
        assert_eq!(judge(&seal(&plan(7)), &north(), None, now()).unwrap(), Offer::Accepted(plan(7)));
        assert_eq!(judge(&seal(&plan(8)), &north(), Some(&kept(7)), now()).unwrap(), Offer::Accepted(plan(8)));
    }

    #[test]
    fn the_kept_plan_stays_even_after_it_expired() {
        let later = now() + TimeDelta::days(300);
        assert_eq!(judge(&seal(&plan(7)), &north(), Some(&kept(7)), later).unwrap(), Offer::Unchanged);
    }

    #[test]
    fn another_branchs_plan_is_refused() {
        let other = Plan { branch: "south".parse().unwrap(), ..plan(9) };
        assert!(refusal(&other, None).contains("branch south, this is branch north"));
    }

    #[test]
    fn an_older_plan_is_refused_and_so_is_another_one_of_the_same_serial() {
        assert!(refusal(&plan(6), Some(&kept(7))).contains("plan 6, which is older than plan 7"));
        let twin = Plan { steps: Vec::new(), ..plan(7) };
        assert!(refusal(&twin, Some(&kept(7))).contains("different plan 7"));
    }

    #[test]
    fn an_expired_plan_is_refused_at_the_very_instant() {
        let expired = Plan { expires: now(), ..plan(9) };
        assert!(refusal(&expired, None).contains("expired at 2030-01-10"));
    }

    #[test]
    fn a_statement_that_is_no_plan_is_refused() {
        let envelope = Envelope::unsigned("something/else", &plan(1)).unwrap();
        assert!(matches!(judge(&envelope, &north(), None, now()), Err(Refusal::Unreadable(_))));
        assert!(refusal(&Plan { format: 2, ..plan(1) }, None).contains("format 2"));
    }

    #[test]
    fn bounds_hold_and_contradictions_are_seen() {
        let with = |edit: &dyn Fn(&mut Plan)| {
            let mut plan = plan(9);
            edit(&mut plan);
            refusal(&plan, None)
        };
        assert!(with(&|p| p.steps = vec![step(); MAX_STEPS + 1]).contains("1001 steps and packages"));
        assert!(with(&|p| p.packages = vec![step(); MAX_STEPS]).contains("1001 steps and packages"));
        assert!(with(&|p| p.steps[0].artifact.length = MAX_ARTIFACT + 1).contains("larger than"));
        assert!(with(&|p| p.steps[0].artifact.index_length = 1 << 27).contains("the index of artifact 03030303"));
        assert!(with(&|p| p.steps[0].payload.name = "a\u{7}".into()).contains("not fit to be shown"));
        let huge = |p: &mut Plan| {
            p.packages = vec![step()];
            p.packages[0].artifact.length = MAX_ARTIFACT + 1;
        };
        assert!(with(&huge).contains("larger than"), "packages have the same bounds");
        assert!(with(&|p| p.serial = u64::MAX).contains("serial is out of range"));
        let twice = with(&|p| {
            p.steps.push(step());
            p.steps[1].artifact.info_hash = [9; 20].into();
        });
        assert!(twice.contains("two things about artifact 03030303"));
    }
}
