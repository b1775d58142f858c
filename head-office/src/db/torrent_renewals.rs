//! Table `torrent_renewals`: artifacts whose torrents the BitTorrent daemon must renew for a branch.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use fleet_types::{BranchName, Digest};
use service_kit::database::{DatabaseError, GenericClient, execute, query};

use super::row::{get, signed, text, unsigned};

service_kit::statements! {
    REQUEST = "INSERT INTO torrent_renewals (artifact, branch, due_at)
        SELECT artifact, $2, $3 FROM unnest($1::text[]) AS lost (artifact) ORDER BY artifact
        ON CONFLICT (artifact, branch) DO UPDATE SET requests = torrent_renewals.requests + 1, renewals = 0, due_at = $3";
    DUE = "SELECT artifact, branch, requests, renewals FROM torrent_renewals WHERE due_at <= $1
        ORDER BY due_at, artifact, branch LIMIT $2";
    PUT_OFF = "UPDATE torrent_renewals SET renewals = $4, due_at = $5
        WHERE artifact = $1 AND branch = $2 AND requests = $3";
    END = "DELETE FROM torrent_renewals WHERE artifact = $1 AND branch = $2 AND requests = $3";
    HELPED = "DELETE FROM torrent_renewals WHERE artifact = $1 AND branch = $2";
}

/// Most renewals that are read at once; the next look finds the rest.
const BATCH: i64 = 1000;

/// A renewal that was requested.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RenewalRow {
    /// The artifact.
    pub artifact: Digest,
    /// The branch that lost it.
    pub branch: BranchName,
    /// How often it was requested so far.
    pub requests: u64,
    /// How often the torrent was renewed since it was requested last.
    pub renewals: u32,
}

/// Requests the renewal of some artifacts' torrents for a branch, due at once.
///
/// # Errors
/// As every statement.
pub async fn request<C: GenericClient>(
    c: &C,
    branch: &BranchName,
    artifacts: &BTreeSet<Digest>,
    now: DateTime<Utc>,
) -> Result<(), DatabaseError> {
    let artifacts: Vec<String> = artifacts.iter().map(ToString::to_string).collect();
    execute(c, REQUEST, &[&artifacts, &branch.as_str(), &now]).await.map(drop)
}

/// Returns the renewals that are due, the longest due first.
///
/// # Errors
/// As every statement.
pub async fn due<C: GenericClient>(c: &C, now: DateTime<Utc>) -> Result<Vec<RenewalRow>, DatabaseError> {
    let rows = query(c, DUE, &[&now, &BATCH]).await?;
    let read = |row| {
        let renewals = u32::try_from(get::<i32>(row, "renewals")?).unwrap_or(u32::MAX);
        let (artifact, branch) = (text(row, "artifact")?, text(row, "branch")?);
        Ok(RenewalRow { artifact, branch, requests: unsigned(row, "requests")?, renewals })
    };
    rows.iter().map(read).collect()
}

/// Notes how often the torrent was renewed for a request, which is due again at `due`.
///
/// Nothing happens to a request that was made again meanwhile.
///
/// # Errors
/// As every statement.
pub async fn put_off<C: GenericClient>(
    c: &C,
    request: &RenewalRow,
    renewals: u32,
    due: DateTime<Utc>,
) -> Result<(), DatabaseError> {
    let (artifact, branch) = (request.artifact.to_string(), request.branch.as_str());
    let renewals = i32::try_from(renewals).unwrap_or(i32::MAX);
    execute(c, PUT_OFF, &[&artifact, &branch, &signed(request.requests), &renewals, &due]).await.map(drop)
}

/// Ends a request, unless it was made again meanwhile.
///
/// # Errors
/// As every statement.
pub async fn end<C: GenericClient>(c: &C, request: &RenewalRow) -> Result<(), DatabaseError> {
    let (artifact, branch) = (request.artifact.to_string(), request.branch.as_str());
    execute(c, END, &[&artifact, &branch, &signed(request.requests)]).await.map(drop)
}

/// Ends the request of a branch that is being served again.
///
/// # Errors
/// As every statement.
pub async fn helped<C: GenericClient>(c: &C, branch: &BranchName, artifact: &Digest) -> Result<(), DatabaseError> {
    execute(c, HELPED, &[&artifact.to_string(), &branch.as_str()]).await.map(drop)
}
