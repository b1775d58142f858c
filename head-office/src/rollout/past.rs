//! Forgets plans of the past.

use chrono::{DateTime, Utc};
use service_kit::database::{DatabaseError, Pool, connection};

use crate::db;

/// Expired plans that are kept of a branch, the newest.
const KEPT: i64 = 20;

/// Plans that are kept of a branch at most. Nothing is asked of an older one: branch servers are given the newest.
const MOST: i64 = 1000;

/// Forgets past plans but for those that are kept; returns how many.
///
/// # Errors
/// The database failed.
pub async fn prune(pool: &Pool, now: DateTime<Utc>) -> Result<u64, DatabaseError> {
    let forgotten = db::plans::prune(&connection(pool).await?, KEPT, MOST, now).await?;
    if forgotten > 0 {
        tracing::info!(forgotten, "past plans are forgotten");
    }
    Ok(forgotten)
}
