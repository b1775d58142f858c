//! Freezes are judged again when a release is approved: time alone changes that verdict.

use chrono::{DateTime, Utc};
use release::{FREEZE_CALENDAR, Policy};
use service_kit::database::{DatabaseError, GenericClient};
use wire::v1::releases::{Finding, Verdict};

use crate::db;
use crate::db::releases::ReleaseRow;

/// Judges a release, which `c` holds, by the calendar at `now`.
///
/// The finding if a freeze keeps it back; otherwise its checklist is updated.
///
/// # Errors
/// The database failed.
pub async fn settle_freeze<C: GenericClient>(
    c: &C,
    release: &ReleaseRow,
    policy: &Policy,
    now: DateTime<Utc>,
) -> Result<Result<(), Finding>, DatabaseError> {
    let finding = release::freeze(policy, now);
    if finding.verdict != Verdict::Pass {
        return Ok(Err(finding));
    }
    let Some(mut report) = release.report.clone() else { return Ok(Ok(())) };
    if let Some(old) = report.findings.iter_mut().find(|f| f.id == FREEZE_CALENDAR && **f != finding) {
        *old = finding;
        db::releases::set_report(c, release.id, &report).await?;
    }
    Ok(Ok(()))
}
