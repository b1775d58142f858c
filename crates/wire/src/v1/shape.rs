//! The shape of reports: what every receiver demands of a batch before it looks into its database.
//!
//! Branch servers and head office call the same check. Who may report what, and whose signature counts, is theirs to judge.

use chrono::Datelike;
use fleet_types::UpdateState;

use super::evidence::MAX_TRIED;
use super::reports::{Batch, MAX_ADDRESSES, MAX_BATCH, MAX_PAYLOAD_NAME, PackageReport, Reason, Report, UpdateReport};
use super::sync::TerminalFacts;

/// Longest version of an agent, in bytes.
const MAX_AGENT_VERSION: usize = 64;

/// Longest code of a reason, in bytes.
const MAX_REASON_CODE: usize = 64;

/// Length of a signature in hexadecimal digits.
const PROOF_DIGITS: usize = 128;

/// The years in which something may have happened: clocks of machines are wrong, but PostgreSQL must hold them.
const FIRST_YEAR: i32 = 1970;

/// Not 9999: a leap second at its end is a time that PostgreSQL would round into a year of five digits, which is no JSON time.
const LAST_YEAR: i32 = 9998;

/// Largest number that a machine may report: what the database holds.
pub const MAX_NUMBER: u64 = i64::MAX as u64;

/// Why a batch is refused for its shape.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ShapeError {
    /// The batch has too many reports.
    #[error("The batch has {0} reports; at most {MAX_BATCH} are accepted")]
    TooLong(usize),
    /// A field is invalid, or does not belong with the others.
    #[error("{field}: {why}")]
    Field {
        /// The field, or several that contradict each other.
        field: &'static str,
        /// What is wrong with it.
        why: String,
    },
}

impl ShapeError {
    /// Makes a refusal of a field.
    pub fn field(field: &'static str, why: impl Into<String>) -> Self {
        Self::Field { field, why: why.into() }
    }
}

/// Checks the numbers, times and fields of a batch.
///
/// Reports of unknown kinds pass: their receiver acknowledges and skips them. So do numbers about a branch server's own store, which
/// the database cuts off, and the words of reasons, which a branch server judges by [`check_reason`]. Head office cuts the words to
/// size instead: branch servers of older versions send sentences of any length, and words must not cost a proven state.
///
/// # Errors
/// The first field that is invalid.
pub fn check(batch: &Batch) -> Result<(), ShapeError> {
    if batch.reports.len() > MAX_BATCH {
        return Err(ShapeError::TooLong(batch.reports.len()));
    }
    for (numbered, before) in batch.reports.iter().zip(std::iter::once(None).chain(batch.reports.iter().map(Some))) {
        if numbered.seq == 0 || numbered.seq > MAX_NUMBER {
            return Err(ShapeError::field("seq", format!("{} is not a valid report number", numbered.seq)));
        }
        if before.is_some_and(|before| numbered.seq != before.seq + 1) {
            return Err(ShapeError::field("seq", format!("{} does not follow the previous report", numbered.seq)));
        }
        if !(FIRST_YEAR..=LAST_YEAR).contains(&numbered.at.year()) {
            let why = format!("report {} is of the year {}", numbered.seq, numbered.at.year());
            return Err(ShapeError::field("at", format!("{why}; write a time from {FIRST_YEAR} to {LAST_YEAR}")));
        }
        // A database rounds it up, into another second than the one that was checked.
        if numbered.at.timestamp_subsec_nanos() >= 1_000_000_000 {
            let why = format!("report {} is of a leap second; write the second before it", numbered.seq);
            return Err(ShapeError::field("at", why));
        }
        check_report(&numbered.report)?;
    }
    Ok(())
}

fn check_report(report: &Report) -> Result<(), ShapeError> {
    match report {
        Report::TerminalSeen { facts, .. } => check_facts(facts),
        Report::Update { update, .. } => check_update(update),
        Report::Package { package, .. } => check_package(package),
        Report::BadPeer { addresses, wasted_bytes, .. } => {
            if addresses.len() > MAX_ADDRESSES || *wasted_bytes > MAX_NUMBER {
                let why = format!("must be at most {MAX_ADDRESSES} addresses and a number in range");
                return Err(ShapeError::field("addresses, wasted_bytes", why));
            }
            Ok(())
        }
        Report::NumbersReused { times, .. } if !(1..=MAX_NUMBER).contains(times) => {
            Err(ShapeError::field("times", "must be a number in range, at least 1"))
        }
        Report::AuditHead { head } if head.seq > MAX_NUMBER => {
            Err(ShapeError::field("head.seq", "must be a number in range"))
        }
        Report::NumbersReused { .. }
        | Report::AuditHead { .. }
        | Report::Running { .. }
        | Report::Artifact { .. }
        | Report::Store { .. }
        | Report::PlanRefused { .. }
        | Report::TerminalRefusesPlan { .. }
        | Report::TerminalDenied { .. }
        | Report::Unknown(_) => Ok(()),
    }
}

/// Checks the facts of a terminal, reported or sent with an enrolment.
///
/// # Errors
/// The first field that is invalid.
pub fn check_facts(facts: &TerminalFacts) -> Result<(), ShapeError> {
    let version = &facts.agent_version;
    if version.is_empty() || version.len() > MAX_AGENT_VERSION || version.chars().any(char::is_control) {
        return Err(ShapeError::field("agent_version", format!("must be 1 to {MAX_AGENT_VERSION} printable bytes")));
    }
    if facts.slot_bytes > MAX_NUMBER || facts.data_bytes > MAX_NUMBER {
        return Err(ShapeError::field("slot_bytes, data_bytes", "must be sizes in range"));
    }
    Ok(())
}

fn check_update(update: &UpdateReport) -> Result<(), ShapeError> {
    if update.serial > MAX_NUMBER || update.segments_total > MAX_NUMBER || update.segments_done > update.segments_total
    {
        let why = "must be in range, and segments_done at most segments_total";
        return Err(ShapeError::field("serial, segments_done, segments_total", why));
    }
    let digits = |proof: &String| proof.len() == PROOF_DIGITS && proof.bytes().all(|b| b.is_ascii_hexdigit());
    if !update.proof.as_ref().is_none_or(digits) {
        return Err(ShapeError::field("proof", format!("must be {PROOF_DIGITS} hexadecimal digits")));
    }
    if update.position.as_ref().is_some_and(|p| p.number > MAX_NUMBER || !digits(&p.proof)) {
        let why = format!("must be a number in range with a proof of {PROOF_DIGITS} hexadecimal digits");
        return Err(ShapeError::field("position", why));
    }
    if let Some(evidence) = &update.evidence {
        // The rest of it is bounded by its types.
        let fits = update.state == UpdateState::RolledBack && evidence.tried <= MAX_TRIED;
        if !fits || !evidence.proof.as_ref().is_none_or(digits) {
            let why = format!(
                "belongs to rolled-back, after at most {MAX_TRIED} boots, with a proof of {PROOF_DIGITS} hexadecimal digits"
            );
            return Err(ShapeError::field("evidence", why));
        }
    }
    Ok(())
}

fn check_package(package: &PackageReport) -> Result<(), ShapeError> {
    if package.total_bytes > MAX_NUMBER || package.have_bytes > package.total_bytes {
        let why = "must be in range, and have_bytes at most total_bytes";
        return Err(ShapeError::field("have_bytes, total_bytes", why));
    }
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    if package.name.is_empty() || package.name.len() > MAX_PAYLOAD_NAME || !package.name.bytes().all(inner) {
        return Err(ShapeError::field("name", format!("must be 1 to {MAX_PAYLOAD_NAME} of a-z, 0-9 and '-'")));
    }
    Ok(())
}

/// Checks code and text of a reason.
///
/// # Errors
/// The first of them that is invalid.
pub fn check_reason(reason: &Reason) -> Result<(), ShapeError> {
    if !reason.code.is_valid() {
        return Err(ShapeError::field("reason.code", format!("must be 1 to {MAX_REASON_CODE} of a-z, 0-9 and '-'")));
    }
    if reason.text.len() > crate::MAX_REASON_LEN || reason.text.contains('\0') {
        let why = format!("must be at most {} bytes of text", crate::MAX_REASON_LEN);
        return Err(ShapeError::field("reason.text", why));
    }
    Ok(())
}

#[cfg(test)]
#[path = "shape_tests.rs"]
mod tests;
