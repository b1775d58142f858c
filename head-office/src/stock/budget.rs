//! How much the store may hold, and making room in it.

use fleet_types::size;
use service_kit::database::{DatabaseError, Pool, connection};
use service_kit::edge::chain;

use super::retention::Retention;
use crate::db;

/// Why there is no room for an archive.
#[derive(Debug, thiserror::Error)]
pub enum BudgetError {
    /// It does not fit into the budget.
    #[error(
        "the store's budget is {}, of which {} are used or promised; an archive of {} needs {} until it is published",
        size(*.budget), size(*.used), size(*.archive), size(*.needed)
    )]
    Exceeded {
        /// `store.budget_bytes`.
        budget: u64,
        /// Bytes that are used or promised.
        used: u64,
        /// Bytes of the archive.
        archive: u64,
        /// Bytes that it needs until it is published.
        needed: u64,
    },
    /// The database failed.
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

/// An archive is there twice until it is published.
///
/// As it came, and as an artifact of at most about its length.
const COPIES: u64 = 2;

/// Makes sure that an archive fits into `budget`, if there is one.
///
/// The caller has the turn to create uploads, so that no other upload is promised the same room. If there is not
/// enough, artifacts that only withdrawn releases have and no plan names are removed, the least recently wanted
/// first; none if that would not suffice.
///
/// # Errors
/// It does not fit.
pub async fn admit(retention: &Retention, budget: Option<u64>, archive_bytes: u64) -> Result<(), BudgetError> {
    let Some(budget) = budget else { return Ok(()) };
    let needed = archive_bytes.saturating_mul(COPIES);
    let mut used = promised(&retention.pool).await?;
    if used.saturating_add(needed) > budget {
        let over = used.saturating_add(needed) - budget;
        // Short of room, it does not wait for `store.seed_days`.
        let spare = retention.due(Some(retention.clock.now())).await?;
        let mut freed = 0u64;
        let enough: Vec<_> = spare
            .into_iter()
            .take_while(|artifact| {
                let go_on = freed < over;
                freed = freed.saturating_add(if go_on { artifact.length } else { 0 });
                go_on
            })
            .collect();
        if freed >= over {
            if let Err(error) = retention.put_away(&enough).await {
                tracing::warn!(error = %chain(&error), "no room could be made");
            }
            used = promised(&retention.pool).await?;
        }
    }
    if used.saturating_add(needed) <= budget {
        return Ok(());
    }
    Err(BudgetError::Exceeded { budget, used, archive: archive_bytes, needed })
}

async fn promised(pool: &Pool) -> Result<u64, DatabaseError> {
    let client = connection(pool).await?;
    let (artifacts, archives) = db::artifacts::store_use(&client).await?;
    Ok(artifacts.saturating_add(archives.saturating_mul(COPIES)))
}
