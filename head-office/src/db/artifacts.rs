//! Table `artifacts`.

use chrono::{DateTime, Utc};
use fleet_types::{Digest, InfoHash};
use service_kit::database::{DatabaseError, GenericClient, execute, query, query_opt};
use tokio_postgres::Row;
use wire::v1::plan::ArtifactRef;

use super::{get, signed, text, unsigned};

service_kit::statements! {
    INSERT = "INSERT INTO artifacts (sha256, length, index_sha256, index_length, info_hash, torrent, payload_sha256,
        created_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (sha256) DO NOTHING";
    // Publishing is listed too: the tracker must accept a torrent before anybody announces it.
    LISTED = "SELECT DISTINCT a.sha256, a.length, a.index_sha256, a.index_length, a.info_hash FROM artifacts a
        JOIN payloads p ON p.artifact_sha256 = a.sha256 JOIN releases r ON r.id = p.release_id
        WHERE r.state IN ('publishing', 'published') ORDER BY a.sha256";
    PUBLISHED = "SELECT DISTINCT a.sha256, a.length, a.index_sha256, a.index_length, a.info_hash FROM artifacts a
        JOIN payloads p ON p.artifact_sha256 = a.sha256 JOIN releases r ON r.id = p.release_id
        WHERE r.state = 'published' ORDER BY a.sha256";
    FIND_PUBLISHED = "SELECT a.sha256, a.length, a.index_sha256, a.index_length, a.info_hash FROM artifacts a
        WHERE a.sha256 = $1 AND EXISTS (SELECT 1 FROM payloads p JOIN releases r ON r.id = p.release_id
            WHERE p.artifact_sha256 = a.sha256 AND r.state = 'published')";
    TORRENT = "SELECT torrent FROM artifacts WHERE sha256 = $1";
}

fn from_row(row: &Row) -> Result<ArtifactRef, DatabaseError> {
    Ok(ArtifactRef {
        sha256: text(row, "sha256")?,
        length: unsigned(row, "length")?,
        index_sha256: text(row, "index_sha256")?,
        index_length: unsigned(row, "index_length")?,
        info_hash: text(row, "info_hash")?,
    })
}

/// Adds an artifact that lies in the store; one that is there already stays as it is.
///
/// # Errors
/// As every statement.
pub async fn insert<C: GenericClient>(
    c: &C,
    artifact: &ArtifactRef,
    torrent: &[u8],
    payload: &Digest,
    now: DateTime<Utc>,
) -> Result<(), DatabaseError> {
    let (sha256, index) = (artifact.sha256.to_string(), artifact.index_sha256.to_string());
    let (hash, payload) = (artifact.info_hash.to_string(), payload.to_string());
    let (length, index_length) = (signed(artifact.length), signed(artifact.index_length));
    execute(c, INSERT, &[&sha256, &length, &index, &index_length, &hash, &torrent, &payload, &now]).await.map(drop)
}

/// The artifacts whose torrents the tracker must accept: of releases being published and published.
///
/// # Errors
/// As every statement.
pub async fn listed<C: GenericClient>(c: &C) -> Result<Vec<InfoHash>, DatabaseError> {
    query(c, LISTED, &[]).await?.iter().map(|row| text(row, "info_hash")).collect()
}

/// The artifacts that must be seeded: of published releases.
///
/// # Errors
/// As every statement.
pub async fn published<C: GenericClient>(c: &C) -> Result<Vec<ArtifactRef>, DatabaseError> {
    query(c, PUBLISHED, &[]).await?.iter().map(from_row).collect()
}

/// An artifact of a published release.
///
/// # Errors
/// As every statement.
pub async fn find_published<C: GenericClient>(c: &C, sha256: &Digest) -> Result<Option<ArtifactRef>, DatabaseError> {
    query_opt(c, FIND_PUBLISHED, &[&sha256.to_string()]).await?.as_ref().map(from_row).transpose()
}

/// The torrent of an artifact, without trackers.
///
/// # Errors
/// As every statement.
pub async fn torrent<C: GenericClient>(c: &C, sha256: &Digest) -> Result<Option<Vec<u8>>, DatabaseError> {
    query_opt(c, TORRENT, &[&sha256.to_string()]).await?.as_ref().map(|row| get(row, "torrent")).transpose()
}
