//! The audits of branches: head office keeps how far each reached, so that one that was cut back is noticed.

use chrono::{DateTime, Utc};
use fleet_types::BranchName;
use service_kit::database::{DatabaseError, GenericClient};
use wire::v1::audit::Head;
use wire::v1::fleet::BranchAudit;

use crate::db;

/// What a report makes of what is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Judged {
    /// The chain goes on, as far as heads can tell.
    Continues,
    /// It was made before what is known.
    Old,
    /// The chain ends before what is known, or has another row there.
    Cut,
}

/// Judges a report of `head`, made at `at`.
fn judge(known: &BranchAudit, head: Head, at: DateTime<Utc>) -> Judged {
    match head.seq.cmp(&known.head.seq) {
        std::cmp::Ordering::Greater => Judged::Continues,
        std::cmp::Ordering::Equal if head.hash == known.head.hash => Judged::Continues,
        std::cmp::Ordering::Equal => Judged::Cut,
        // A sender that lost the thread sends what it has once more.
        std::cmp::Ordering::Less if at <= known.at => Judged::Old,
        std::cmp::Ordering::Less => Judged::Cut,
    }
}

/// Takes the report in that a branch's audit reached to `head` at `at`.
///
/// # Errors
/// The database failed.
pub async fn take<C: GenericClient>(
    c: &C,
    branch: &BranchName,
    head: Head,
    at: DateTime<Utc>,
    now: DateTime<Utc>,
) -> Result<(), DatabaseError> {
    // A clock that is ahead would make every later report an old one.
    let at = at.min(now);
    let known = db::branch_audits::read(c, branch).await?;
    match known.as_ref().map_or(Judged::Continues, |known| judge(known, head, at)) {
        Judged::Old => return Ok(()),
        Judged::Continues => {}
        Judged::Cut => {
            let kept = known.map_or(Head::EMPTY, |known| known.head);
            tracing::error!(%branch, kept = kept.seq, found = head.seq, "the audit of the branch was cut back or rewritten");
            db::branch_audits::cut(c, branch, head.seq, now).await?;
        }
    }
    db::branch_audits::set(c, branch, head, at).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::TimeDelta;
    use fleet_types::Digest;

    #[test]
    fn a_chain_that_ends_earlier_or_otherwise_is_cut() {
        let head = |seq, byte| Head { seq, hash: Digest::new([byte; 32]) };
        let at = DateTime::UNIX_EPOCH + TimeDelta::days(1);
        let (before, after) = (at - TimeDelta::seconds(1), at + TimeDelta::seconds(1));
        let known = BranchAudit { head: head(5, 5), at, cut: None };
        for (reported, when, judged) in [
            (head(6, 6), after, Judged::Continues),
            (head(6, 6), before, Judged::Continues),
            (head(5, 5), before, Judged::Continues),
            (head(5, 9), before, Judged::Cut),
            (head(4, 4), after, Judged::Cut),
            (head(4, 4), at, Judged::Old),
            (Head::EMPTY, after, Judged::Cut),
        ] {
            assert_eq!(judge(&known, reported, when), judged, "{reported:?}");
        }
    }
}
