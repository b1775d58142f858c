//! Lets plans follow the reports of their branches: at once, or later if they changed often lately.

use chrono::{DateTime, TimeDelta, Utc};
use fleet_types::BranchName;
use service_kit::database::{DatabaseError, GenericClient, Pool, connection};

use super::pace::{self, WINDOW};
use super::renewal::{Renewed, each};
use super::tick::{self, Issuer, TickError};
use crate::db;

/// Branches that are read with one statement.
const PAGE: i64 = 1000;

/// What became of a branch's plan after a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Followed {
    /// It is a new one.
    Issued,
    /// It was up to date.
    Unchanged,
    /// It will be brought up to date by [`delayed`].
    Later,
}

/// Brings the plan of a branch up to date that reported a change, or has it done later.
///
/// `c` must be a transaction that holds the branch.
///
/// # Errors
/// As [`TickError`].
pub async fn report<C: GenericClient>(
    c: &C,
    branch: &BranchName,
    now: DateTime<Utc>,
    issuer: &Issuer,
) -> Result<Followed, TickError> {
    let recent = db::plans::recent(c, branch, now - WINDOW, now).await?;
    if let Some(due) = pace::delay(recent.count, recent.newest, now) {
        db::delayed_plans::delay(c, branch, due).await?;
        return Ok(Followed::Later);
    }
    let outcome = tick::branch(c, branch, now, issuer).await?;
    Ok(if outcome.issued.is_some() { Followed::Issued } else { Followed::Unchanged })
}

/// Brings the plans up to date whose delay is over. Returns what came of it, and when the next is due.
pub async fn delayed(pool: &Pool, now: DateTime<Utc>, issuer: &Issuer) -> (Renewed, Option<DateTime<Utc>>) {
    let mut renewed = Renewed::default();
    let next = follow(pool, now, issuer, &mut renewed).await;
    let next = next.unwrap_or_else(|error| {
        renewed.interrupted = Some(error);
        None
    });
    (renewed, next)
}

async fn follow(
    pool: &Pool,
    now: DateTime<Utc>,
    issuer: &Issuer,
    renewed: &mut Renewed,
) -> Result<Option<DateTime<Utc>>, DatabaseError> {
    let due = db::delayed_plans::due(&connection(pool).await?, now, PAGE).await?;
    each(pool, &due, now, issuer, renewed).await?;
    db::delayed_plans::first(&connection(pool).await?).await
}

/// Returns how long to wait for what is due at `at`.
pub fn wait_until(at: DateTime<Utc>, now: DateTime<Utc>) -> std::time::Duration {
    (at - now).max(TimeDelta::zero()).to_std().unwrap_or_default()
}
