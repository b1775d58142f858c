//! Taking a release back: it ends, its assignments end with it, and every branch that had one gets a plan without it.

use chrono::{DateTime, Utc};
use fleet_types::ReleaseState;
use service_kit::database::GenericClient;
use wire::{Reason, ReasonCode};

use super::moves::{MoveError, advance};
use crate::db;
use crate::db::releases::ReleaseRow;
use crate::rollout::tick::{self, Issuer};

/// What withdrawing did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Withdrawal {
    /// How many branches had the release assigned.
    pub branches: usize,
    /// How many of them got a new plan.
    pub plans: usize,
}

/// Withdraws a release that the transaction `c` holds ([`db::releases::lock`]).
///
/// From the commit on no plan names it; a job that works on it notices and undoes what it did, and retention puts
/// away what was seeded.
///
/// # Errors
/// The release has ended already, or the database failed.
pub async fn withdraw<C: GenericClient>(
    c: &C,
    release: &ReleaseRow,
    reason: &str,
    by: &str,
    now: DateTime<Utc>,
    issuer: &Issuer,
) -> Result<Withdrawal, MoveError> {
    advance(c, release, ReleaseState::Withdrawn, &[Reason::new(ReasonCode::Withdrawn, reason)], now).await?;
    db::releases::set_withdrawn_by(c, release.id, by).await?;
    let branches = db::assignments::remove_of_release(c, release.id).await?;
    let outcomes = tick::branches(c, &branches, now, issuer).await?;
    Ok(Withdrawal { branches: branches.len(), plans: outcomes.iter().filter(|o| o.issued.is_some()).count() })
}
