//! Table `signatures`.

use std::collections::{HashMap, HashSet};

use chrono::{DateTime, Utc};
use fleet_types::{Digest, ProductName, Version};
use service_kit::database::{DatabaseError, GenericClient, execute, query, query_opt};
use tokio_postgres::Row;
use uuid::Uuid;
use wire::v1::releases::Signatures;

use super::row::{get, text};

service_kit::statements! {
    PROPOSAL = "SELECT proposal FROM signatures WHERE release_id = $1";
    SET = "INSERT INTO signatures (release_id, proposal, signed_by, threshold, missing, posted_at)
        VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (release_id) DO UPDATE SET proposal = EXCLUDED.proposal,
            signed_by = EXCLUDED.signed_by, threshold = EXCLUDED.threshold, missing = EXCLUDED.missing,
            posted_at = EXCLUDED.posted_at";
    REMOVE = "DELETE FROM signatures WHERE release_id = $1";
    // Of what is signed by its manifest, what only withdrawn releases have.
    WITHDRAWN = "SELECT manifest_sha256 FROM releases WHERE manifest_sha256 = ANY($1) GROUP BY manifest_sha256
        HAVING bool_and(state = 'withdrawn')";
    PUBLISHED = "SELECT id, product, version, manifest_sha256 FROM releases WHERE state = 'published'
            AND product IS NOT NULL AND version IS NOT NULL AND manifest_sha256 IS NOT NULL
        ORDER BY created_at DESC, id LIMIT $1";
    OF_RELEASES = "SELECT release_id, signed_by, threshold, missing FROM signatures WHERE release_id = ANY($1)";
}

/// What was posted for a release so far, as a proposal file.
///
/// # Errors
/// As every statement.
pub async fn proposal<C: GenericClient>(c: &C, release: Uuid) -> Result<Option<Vec<u8>>, DatabaseError> {
    query_opt(c, PROPOSAL, &[&release]).await?.as_ref().map(|row| get(row, "proposal")).transpose()
}

/// Keeps what was posted for a release so far, and how far it reaches.
///
/// # Errors
/// As every statement.
pub async fn set<C: GenericClient>(
    c: &C,
    release: Uuid,
    proposal: &[u8],
    state: &Signatures,
    now: DateTime<Utc>,
) -> Result<(), DatabaseError> {
    let signed_by: Vec<String> = state.signed_by.iter().map(ToString::to_string).collect();
    let [threshold, missing] = [state.threshold, state.missing].map(|n| i32::try_from(n).unwrap_or(i32::MAX));
    execute(c, SET, &[&release, &proposal, &signed_by, &threshold, &missing, &now]).await.map(drop)
}

/// Forgets what was posted for a release: it cannot be used any more.
///
/// # Errors
/// As every statement.
pub async fn remove<C: GenericClient>(c: &C, release: Uuid) -> Result<(), DatabaseError> {
    execute(c, REMOVE, &[&release]).await.map(drop)
}

/// Those of some manifests that withdrawn releases have and no other.
///
/// # Errors
/// As every statement.
pub async fn withdrawn<C: GenericClient>(c: &C, manifests: &[Digest]) -> Result<HashSet<Digest>, DatabaseError> {
    let manifests: Vec<String> = manifests.iter().map(ToString::to_string).collect();
    query(c, WITHDRAWN, &[&manifests]).await?.iter().map(|row| text(row, "manifest_sha256")).collect()
}

/// A published release, for which the signed metadata must vouch.
#[derive(Debug, Clone)]
pub struct PublishedRow {
    /// Its id.
    pub id: Uuid,
    /// The product.
    pub product: ProductName,
    /// The version.
    pub version: Version,
    /// Digest of the manifest.
    pub manifest: Digest,
}

/// The published releases, at most `limit`, newest first.
///
/// # Errors
/// As every statement.
pub async fn published<C: GenericClient>(c: &C, limit: i64) -> Result<Vec<PublishedRow>, DatabaseError> {
    let rows = query(c, PUBLISHED, &[&limit]).await?;
    rows.iter()
        .map(|row| {
            let (product, version) = (text(row, "product")?, text(row, "version")?);
            Ok(PublishedRow { id: get(row, "id")?, product, version, manifest: text(row, "manifest_sha256")? })
        })
        .collect()
}

/// How far the signatures of some releases reach.
///
/// # Errors
/// As every statement.
pub async fn of_releases<C: GenericClient>(
    c: &C,
    releases: &[Uuid],
) -> Result<HashMap<Uuid, Signatures>, DatabaseError> {
    let rows = query(c, OF_RELEASES, &[&releases]).await?;
    rows.iter().map(|row| Ok((get(row, "release_id")?, from_row(row)?))).collect()
}

fn from_row(row: &Row) -> Result<Signatures, DatabaseError> {
    let signed_by: Vec<String> = get(row, "signed_by")?;
    let signed_by = signed_by
        .iter()
        .map(|id| id.parse::<Digest>().map_err(|e| DatabaseError::value("signed_by", e)))
        .collect::<Result<_, _>>()?;
    let number = |column: &'static str| -> Result<u32, DatabaseError> {
        let value: i32 = get(row, column)?;
        u32::try_from(value).map_err(|e| DatabaseError::value(column, e))
    };
    Ok(Signatures { signed_by, threshold: number("threshold")?, missing: number("missing")? })
}
