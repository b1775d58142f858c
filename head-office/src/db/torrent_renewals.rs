//! Table `torrent_renewals`: artifacts whose torrents the BitTorrent daemon must renew.

use std::collections::BTreeSet;

use fleet_types::Digest;
use service_kit::database::{DatabaseError, GenericClient, execute, query};

use super::row::{get, signed, text, unsigned};

service_kit::statements! {
    // In one order, so that two branches that lost the same artifacts wait for one another and do not deadlock.
    REQUEST = "INSERT INTO torrent_renewals (artifact) SELECT artifact FROM unnest($1::text[]) AS lost (artifact)
        ORDER BY artifact ON CONFLICT (artifact) DO UPDATE SET requests = torrent_renewals.requests + 1
        RETURNING xmax = 0 AS is_new";
    REQUESTED = "SELECT artifact, requests FROM torrent_renewals ORDER BY artifact LIMIT $1";
    DONE = "DELETE FROM torrent_renewals WHERE artifact = $1 AND requests = $2";
}

/// Most renewals that are read at once; the next look finds the rest.
const BATCH: i64 = 1000;

/// A renewal that was requested.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RenewalRow {
    /// The artifact.
    pub artifact: Digest,
    /// How often it was requested so far.
    pub requests: u64,
}

/// Requests the renewal of some artifacts' torrents; returns whether one of them was not requested before.
///
/// # Errors
/// As every statement.
pub async fn request<C: GenericClient>(c: &C, artifacts: &BTreeSet<Digest>) -> Result<bool, DatabaseError> {
    let artifacts: Vec<String> = artifacts.iter().map(ToString::to_string).collect();
    let mut is_any_new = false;
    for row in query(c, REQUEST, &[&artifacts]).await? {
        is_any_new |= get::<bool>(&row, "is_new")?;
    }
    Ok(is_any_new)
}

/// Returns the renewals that are to be done.
///
/// # Errors
/// As every statement.
pub async fn requested<C: GenericClient>(c: &C) -> Result<Vec<RenewalRow>, DatabaseError> {
    let rows = query(c, REQUESTED, &[&BATCH]).await?;
    rows.iter()
        .map(|row| Ok(RenewalRow { artifact: text(row, "artifact")?, requests: unsigned(row, "requests")? }))
        .collect()
}

/// Deletes a renewal that was done, unless it was requested again meanwhile.
///
/// # Errors
/// As every statement.
pub async fn done<C: GenericClient>(c: &C, renewal: &RenewalRow) -> Result<(), DatabaseError> {
    let requests = signed(renewal.requests);
    execute(c, DONE, &[&renewal.artifact.to_string(), &requests]).await.map(drop)
}
