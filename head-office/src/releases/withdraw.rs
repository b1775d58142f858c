//! Taking a release back: it ends, its assignments end with it, and every branch that had one gets a plan without it.

use chrono::{DateTime, Utc};
use fleet_types::{BranchName, ReleaseState};
use service_kit::database::GenericClient;
use service_kit::edge::failures;
use trust::repository::SignedPayload;
use wire::{Reason, ReasonCode};

use super::moves::{MoveError, advance};
use crate::db;
use crate::db::releases::ReleaseRow;
use crate::rollout::tick::{self, Issuer, TickError};
use crate::trust::{Standing, Trust};

/// What withdrawing did.
#[derive(Debug)]
pub struct Withdrawal {
    /// How many branches had the release assigned.
    pub branches: usize,
    /// How many of them got a new plan.
    pub plans: usize,
    /// The branches that keep a plan with the release, because it cannot be read.
    pub failed: Vec<(BranchName, TickError)>,
}

impl Withdrawal {
    /// Returns what people must do for the branches that keep their plans, if any does.
    pub fn to_do(&self) -> Option<String> {
        let text = "These branches keep a plan that names the release, because head office cannot read it";
        (!self.failed.is_empty())
            .then(|| format!("{text}: {}. Update head office or restore its database.", failures(&self.failed)))
    }
}

/// Withdraws a release that the transaction `c` holds ([`db::releases::lock`]).
///
/// From the commit on no plan names it, except plans that cannot be read; a job that works on it notices and undoes what it did, and retention puts
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
    let ticked = tick::branches(c, &branches, now, issuer).await?;
    Ok(Withdrawal { branches: branches.len(), plans: ticked.issued(), failed: ticked.failed })
}

/// Takes a release out of the signed metadata, as far as head office can. Returns what is left to people.
pub async fn vouch_no_more(trust: &Trust, payloads: Vec<SignedPayload>, now: DateTime<Utc>) -> Option<String> {
    if let Err(error) = trust.withdraw(payloads.clone(), now).await {
        // The watch over the metadata tries again.
        tracing::warn!(%error, "a withdrawn release is still vouched for; trying again");
    }
    let first = payloads.first().filter(|_| trust.standing(&payloads) == Standing::Signed)?;
    let (product, version) = (&first.product, &first.version);
    Some(match trust.signs(product) {
        true => {
            format!("The signed metadata still vouches for {product} {version}; head office keeps trying to remove it.")
        }
        false => format!(
            "The release keys of {product} still vouch for {version}: have their holders sign the withdrawal with \
             `filial trust propose FOLDER product-{product} --withdraw {version}`."
        ),
    })
}
