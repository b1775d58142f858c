//! What a receiver remembers of a numbering of reports, so that it notices a number that comes again with other content.
//!
//! That happens when a machine's data was restored from a copy, and when two machines run from copies of one disk.

use chrono::{DateTime, Utc};
use fleet_types::Digest;
use sha2::{Digest as _, Sha256};

use super::reports::{MAX_BATCH, Numbered};
use super::status::Alert;
use crate::reason::{Reason, ReasonCode};

/// Most digests that are kept of one numbering: a sender repeats one request at most.
pub const KEPT: usize = MAX_BATCH;

/// Days for which a number that was used twice is an alert.
pub const ALERT_DAYS: u32 = 7;

/// Length of a SHA-256 digest, in bytes.
const LEN: usize = 32;

/// SHA-256 of the content of a report and the time of what it reports, without its number.
pub fn digest(numbered: &Numbered) -> Digest {
    // A report that was read from JSON can be written as JSON.
    let bytes = serde_json::to_vec(&(numbered.at, &numbered.report)).unwrap_or_default();
    Digest::new(Sha256::digest(bytes).into())
}

/// The digests of the last reports of a numbering, at most [`KEPT`], oldest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recent(Vec<Digest>);

impl Recent {
    /// Reads what [`Recent::to_bytes`] wrote.
    pub fn from_bytes(bytes: &[u8]) -> Self {
        let (digests, _) = bytes.as_chunks::<LEN>();
        Self(digests.iter().map(|digest| Digest::new(*digest)).collect())
    }

    /// The digests, one after the other.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.0.iter().flat_map(|digest| *digest.as_bytes()).collect()
    }

    /// Adds the digest of the next report, and forgets the oldest beyond [`KEPT`].
    pub fn push(&mut self, digest: Digest) {
        if self.0.len() >= KEPT {
            self.0.drain(..=self.0.len() - KEPT);
        }
        self.0.push(digest);
    }

    /// The digests, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &Digest> {
        self.0.iter()
    }

    /// Returns the first number of `reports` whose content differs from the stored one.
    ///
    /// The newest digest belongs to number `through`. Numbers whose digests are forgotten pass.
    pub fn first_reused(&self, through: u64, reports: &[Numbered]) -> Option<u64> {
        let differs = |n: &&Numbered| self.at(through, n.seq).is_some_and(|known| *known != digest(n));
        reports.iter().find(differs).map(|n| n.seq)
    }

    fn at(&self, through: u64, seq: u64) -> Option<&Digest> {
        let back = usize::try_from(through.checked_sub(seq)?).ok()?;
        self.0.get(self.0.len().checked_sub(back)?.checked_sub(1)?)
    }
}

/// Why the reports of a batch are refused, by their numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// A number came again with other content.
    Reused {
        /// The number.
        seq: u64,
    },
    /// A new number came under a numbering after the sender began a newer one.
    Superseded {
        /// The number.
        seq: u64,
    },
    /// Reports are missing before the first.
    Gap {
        /// The first number of the batch.
        first: u64,
        /// The number that must come next.
        next: u64,
    },
}

/// Judges a batch by its numbers. `through` is the last stored number of its numbering, whose newest digests are `recent`;
/// `superseded`: the sender began a newer numbering.
///
/// # Errors
/// It is refused; nothing of it may be stored.
pub fn judge(recent: &Recent, through: u64, superseded: bool, reports: &[Numbered]) -> Result<(), Refused> {
    if let Some(seq) = recent.first_reused(through, reports) {
        return Err(Refused::Reused { seq });
    }
    if let Some(new) = reports.iter().find(|report| superseded && report.seq > through) {
        return Err(Refused::Superseded { seq: new.seq });
    }
    match reports.first() {
        Some(first) if first.seq > through + 1 => Err(Refused::Gap { first: first.seq, next: through + 1 }),
        _ => Ok(()),
    }
}

/// The alert that more machines than are shown used report numbers twice.
pub fn alert_of_more(count: u64) -> Alert {
    let reason = Reason::of(ReasonCode::DuplicateIdentities).with("count", count);
    let remedy = "If a branch reports machines that it does not have, its server is in other hands: deny it with \
        `filial branch deny`.";
    Alert { reason, remedy: remedy.to_owned() }
}

/// The alert that `machine` used report numbers twice: how often, and when last.
pub fn alert(machine: &str, times: u64, last: DateTime<Utc>) -> Alert {
    let reason =
        Reason::of(ReasonCode::DuplicateIdentity).with("machine", machine).with("times", times).with("last", last);
    let remedy = format!(
        "If its data was restored from a copy, it has healed itself and this alert ends {ALERT_DAYS} days after the last time. \
         If the number of times rises, find the second machine with its identity and enrol it again under another name."
    );
    Alert { reason, remedy }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::v1::reports::Report;

    fn report(seq: u64, free_bytes: u64) -> Numbered {
        let at = DateTime::from_timestamp(1_000, 0).unwrap();
        Numbered { seq, at, report: Report::Store { capacity_bytes: 9, free_bytes, held_bytes: 0 } }
    }

    fn stored(through: u64) -> Recent {
        let mut recent = Recent::default();
        (1..=through).for_each(|seq| recent.push(digest(&report(seq, seq))));
        recent
    }

    #[test]
    fn known_number_with_other_content_is_noticed() {
        let recent = stored(5);
        assert_eq!(recent.first_reused(5, &[report(4, 4), report(5, 5), report(6, 0)]), None);
        assert_eq!(recent.first_reused(5, &[report(3, 3), report(4, 9), report(5, 9)]), Some(4));
        assert_eq!(recent.first_reused(5, &[report(0, 9)]), None, "numbers begin at 1");
        assert_eq!(Recent::default().first_reused(5, &[report(5, 9)]), None);
    }

    #[test]
    fn the_digests_of_the_last_200_are_kept() {
        let recent = stored(1000);
        assert_eq!(recent.iter().count(), KEPT);
        assert_eq!(recent.first_reused(1000, &[report(800, 0)]), None);
        assert_eq!(recent.first_reused(1000, &[report(801, 0)]), Some(801));
        assert_eq!(Recent::from_bytes(&recent.to_bytes()), recent);
    }

    #[test]
    fn a_batch_is_judged_by_content_then_by_its_numbering_then_by_its_gap() {
        let recent = stored(5);
        let (known, next, reused) = (report(5, 5), report(6, 6), report(5, 9));
        for (superseded, reports, expected) in [
            (false, vec![], Ok(())),
            (false, vec![known.clone(), next.clone()], Ok(())),
            (true, vec![known.clone()], Ok(())),
            (true, vec![known.clone(), next.clone()], Err(Refused::Superseded { seq: 6 })),
            (true, vec![reused.clone(), next.clone()], Err(Refused::Reused { seq: 5 })),
            (false, vec![report(7, 7)], Err(Refused::Gap { first: 7, next: 6 })),
            (true, vec![report(7, 7)], Err(Refused::Superseded { seq: 7 })),
        ] {
            assert_eq!(judge(&recent, 5, superseded, &reports), expected, "{superseded} {reports:?}");
        }
    }

    #[test]
    fn time_counts_and_the_number_does_not() {
        assert_eq!(digest(&report(1, 5)), digest(&report(2, 5)));
        let later = Numbered { at: DateTime::from_timestamp(1_001, 0).unwrap(), ..report(1, 5) };
        assert_ne!(digest(&report(1, 5)), digest(&later));
    }
}
