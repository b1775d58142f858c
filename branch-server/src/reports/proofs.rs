//! Proofs of states: head office counts a state only if its terminal signed it, so an unsigned one is not even queued.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use fleet_types::{BranchName, TerminalName};
use service_kit::server::{ApiError, Tries};
use trust::PublicKey;
use wire::Code;
use wire::v1::reports::{Batch, MAX_BATCH, NotTaken, Report};

/// States without a proof that one terminal may send at once: one full batch, as after its key was replaced.
pub const UNPROVEN: u32 = 200;

/// The time after which one of them is forgotten.
const UNPROVEN_FORGIVEN: Duration = Duration::from_secs(1);

/// Reports that one terminal may send at once: four times what an honest one keeps while this server is away.
pub const REPORTS: u32 = 2_000;

/// As so many reports an enrolment with changed facts counts: it is rare, and each one is a report, a row and a certificate to look at.
pub const ENROLMENT: usize = 99;

/// The time after which one of them is forgotten.
const REPORT_FORGIVEN: Duration = Duration::from_millis(200);

/// The terminal that sends a batch.
#[derive(Debug, Clone, Copy)]
pub struct Sender<'a> {
    /// Its branch.
    pub branch: &'a BranchName,
    /// Its name.
    pub terminal: &'a TerminalName,
    /// The key that this server certified, if it can sign statements.
    pub key: Option<PublicKey>,
}

impl Sender<'_> {
    /// Returns the states of a batch that this terminal did not sign, by number.
    pub fn unproven(&self, batch: &Batch) -> BTreeMap<u64, NotTaken> {
        let mut unproven = BTreeMap::new();
        for numbered in &batch.reports {
            let Report::Update { update, .. } = &numbered.report else { continue };
            let holds = |statement: &str, proof: &str| self.key.is_some_and(|key| key.verify_text(statement, proof));
            if update.proven(self.branch, self.terminal, holds) {
                continue;
            }
            let (seq, terminal) = (numbered.seq, self.terminal);
            let text = format!(
                "The state of {terminal} in report {seq} is not signed with the key of its certificate; what the terminal reports next \
                 is signed."
            );
            unproven.insert(seq, NotTaken { seq, code: Code::ReportNotProven, text });
        }
        unproven
    }
}

/// Bounds what one terminal may send, before the database is asked. Counts are kept in memory.
#[derive(Debug)]
pub struct Pace {
    unproven: Tries<TerminalName>,
    reports: Tries<TerminalName>,
}

impl Default for Pace {
    fn default() -> Self {
        Self { unproven: Tries::new(UNPROVEN, UNPROVEN_FORGIVEN), reports: Tries::new(REPORTS, REPORT_FORGIVEN) }
    }
}

impl Pace {
    /// Returns whether a terminal may send reports now; nothing is counted.
    ///
    /// # Errors
    /// The terminal sent too many reports, or too many states without a proof.
    pub fn may_send(&self, terminal: &TerminalName, now: Instant) -> Result<(), ApiError> {
        let detail = if self.unproven.must_wait(terminal, now).is_some() {
            format!("Terminal {terminal} sent {UNPROVEN} states that are not signed with the key of its certificate.")
        } else if self.reports.must_wait(terminal, now).is_some() {
            format!("Terminal {terminal} sent {REPORTS} reports in a short time.")
        } else {
            return Ok(());
        };
        Err(ApiError::new(Code::TooMany, detail, "Keep the reports and try again later."))
    }

    /// Lets a batch of so many reports of a terminal in, and counts it with them: refused and repeated ones cost as much as new ones.
    ///
    /// # Errors
    /// As [`Self::may_send`]; nothing is counted then.
    pub fn admit(&self, terminal: &TerminalName, reports: usize, now: Instant) -> Result<(), ApiError> {
        self.may_send(terminal, now)?;
        let cost = u32::try_from(reports.min(MAX_BATCH)).unwrap_or(u32::MAX).saturating_add(1);
        self.reports.add(terminal.clone(), cost, now);
        Ok(())
    }

    /// Counts states without a proof.
    pub fn unproven(&self, terminal: &TerminalName, count: usize, now: Instant) {
        self.unproven.add(terminal.clone(), u32::try_from(count).unwrap_or(u32::MAX), now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_waits_after_its_reports_and_another_does_not() {
        let (pace, now) = (Pace::default(), Instant::now());
        let [one, two]: [TerminalName; 2] = ["till-1", "till-2"].map(|name| name.parse().unwrap());
        // A batch counts as one more than it holds.
        let full = REPORTS as usize / (MAX_BATCH + 1);
        assert!((0..=full).all(|_| pace.admit(&one, MAX_BATCH, now).is_ok()));
        assert!(pace.admit(&one, 0, now).is_err() && pace.admit(&two, 0, now).is_ok());
        let over = u32::try_from((full + 1) * (MAX_BATCH + 1)).unwrap() - REPORTS;
        assert!(pace.admit(&one, 0, now + REPORT_FORGIVEN * over).is_err());
        assert!(pace.admit(&one, 0, now + REPORT_FORGIVEN * (over + 1)).is_ok());
        pace.unproven(&two, UNPROVEN as usize, now);
        assert!(pace.admit(&two, 0, now).is_err());
        assert!(pace.admit(&two, 0, now + UNPROVEN_FORGIVEN).is_ok());
    }
}
