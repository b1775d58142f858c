//! Table `artifacts`.

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use fleet_types::{Digest, InfoHash};
use service_kit::database::{DatabaseError, GenericClient, execute, query, query_one, query_opt};
use tokio_postgres::Row;
use wire::v1::plan::ArtifactRef;
use wire::{Reason, ReasonCode};

use super::row::{get, reasons_columns, signed, text, unsigned};

service_kit::statements! {
    INSERT = "INSERT INTO artifacts (sha256, length, index_sha256, index_length, info_hash, torrent, payload_sha256,
        created_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (sha256) DO UPDATE SET stage = 'held'";
    // Whatever the daemon may still seed, and what is about to be published.
    LISTED = "SELECT info_hash FROM artifacts WHERE stage <> 'dropped'";
    // What is being published is seeded by its job; what was withdrawn, until it is put away.
    SEEDED = "SELECT a.sha256, a.length, a.index_sha256, a.index_length, a.info_hash FROM artifacts a
        WHERE a.stage = 'held' AND EXISTS (SELECT 1 FROM payloads p JOIN releases r ON r.id = p.release_id
            WHERE p.artifact_sha256 = a.sha256 AND r.state IN ('published', 'withdrawn')) ORDER BY a.sha256";
    COUNT_SEEDED = "SELECT count(*) FROM artifacts a
        WHERE a.stage = 'held' AND EXISTS (SELECT 1 FROM payloads p JOIN releases r ON r.id = p.release_id
            WHERE p.artifact_sha256 = a.sha256 AND r.state IN ('published', 'withdrawn'))";
    DUE = "SELECT a.sha256, a.length, a.index_sha256, a.index_length, a.info_hash FROM artifacts a WHERE a.stage <> 'held'
            OR ((a.last_named IS NULL OR a.last_named <= $1 OR a.last_named > $2)
                AND NOT EXISTS (SELECT 1 FROM payloads p JOIN releases r ON r.id = p.release_id
                    WHERE p.artifact_sha256 = a.sha256 AND r.state <> 'withdrawn')
                AND a.sha256 NOT IN (SELECT s.value -> 'artifact' ->> 'sha256' FROM branches b
                    CROSS JOIN LATERAL (SELECT steps || packages AS named FROM plans WHERE branch = b.name ORDER BY serial DESC LIMIT 1) n
                    CROSS JOIN LATERAL jsonb_array_elements(n.named) s WHERE s.value -> 'artifact' ->> 'sha256' IS NOT NULL))
        ORDER BY a.stage = 'held', a.last_named NULLS FIRST, a.created_at, a.sha256 LIMIT $3";
    // What is on its way out goes on; what is held leaves unless it is needed again meanwhile.
    LEAVE = "UPDATE artifacts a SET stage = CASE a.stage WHEN 'held' THEN 'leaving' ELSE a.stage END WHERE a.sha256 = $1
        AND (a.stage <> 'held' OR NOT EXISTS (SELECT 1 FROM payloads p JOIN releases r ON r.id = p.release_id
            WHERE p.artifact_sha256 = a.sha256 AND r.state <> 'withdrawn'))";
    SET_DROPPED = "UPDATE artifacts SET stage = 'dropped' WHERE sha256 = $1";
    UNLINK = "UPDATE payloads SET artifact_sha256 = NULL WHERE artifact_sha256 = $1";
    FORGET = "DELETE FROM artifacts WHERE sha256 = $1";
    KNOWN = "SELECT sha256 FROM artifacts WHERE sha256 = ANY($1)";
    STORE_USE = "SELECT (SELECT COALESCE(sum(length), 0) FROM artifacts)::bigint AS artifacts,
        (SELECT COALESCE(sum(archive_bytes), 0) FROM releases WHERE state IN
            ('uploading', 'validating', 'awaiting-signature', 'approved', 'publishing'))::bigint AS archives";
    // Without JSON an earlier version said it, which says nothing else of published releases.
    TOLD_MISSING = "SELECT DISTINCT p.artifact_sha256 FROM payloads p JOIN releases r ON r.id = p.release_id
        WHERE r.state = 'published' AND r.reason IS NOT NULL AND p.artifact_sha256 IS NOT NULL AND (r.reasons IS NULL
            OR EXISTS (SELECT 1 FROM jsonb_array_elements(r.reasons) e WHERE e ->> 'code' = ANY($1)))";
    TELL_MISSING = "UPDATE releases SET reason = $2, reasons = $3 WHERE state = 'published' AND id IN
        (SELECT release_id FROM payloads WHERE artifact_sha256 = $1)";
    FIND_PUBLISHED = "SELECT a.sha256, a.length, a.index_sha256, a.index_length, a.info_hash FROM artifacts a
        WHERE a.sha256 = $1 AND EXISTS (SELECT 1 FROM payloads p JOIN releases r ON r.id = p.release_id
            WHERE p.artifact_sha256 = a.sha256 AND r.state = 'published')";
    NAMED_UNTIL = "UPDATE artifacts SET last_named = $2 WHERE sha256 = ANY($1)";
    TORRENT_TO_SEED = "SELECT torrent FROM artifacts WHERE sha256 = $1 AND stage = 'held'";
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

/// The codes of releases whose artifact is not in the store as it was stored.
const MISSING: [ReasonCode; 3] =
    [ReasonCode::StoreFileMissing, ReasonCode::StoreFileCut, ReasonCode::StoreFileUnreadable];

/// Adds an artifact that lies in the store.
///
/// One that is there already stays as it is, and no longer leaves.
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

/// The artifacts whose torrents the tracker must accept: all that the daemon may seed.
///
/// # Errors
/// As every statement.
pub async fn listed<C: GenericClient>(c: &C) -> Result<Vec<InfoHash>, DatabaseError> {
    query(c, LISTED, &[]).await?.iter().map(|row| text(row, "info_hash")).collect()
}

/// The artifacts that must be seeded.
///
/// Of published releases, and of withdrawn ones until they are put away.
///
/// # Errors
/// As every statement.
pub async fn seeded<C: GenericClient>(c: &C) -> Result<Vec<ArtifactRef>, DatabaseError> {
    query(c, SEEDED, &[]).await?.iter().map(from_row).collect()
}

/// How many [`seeded`] there are.
///
/// # Errors
/// As every statement.
pub async fn count_seeded<C: GenericClient>(c: &C) -> Result<u64, DatabaseError> {
    unsigned(&query_one(c, COUNT_SEEDED, &[]).await?, "count")
}

/// The torrent of an artifact that may be seeded, without trackers.
///
/// None once it is on its way out.
///
/// # Errors
/// As every statement.
pub async fn torrent_to_seed<C: GenericClient>(c: &C, sha256: &Digest) -> Result<Option<Vec<u8>>, DatabaseError> {
    query_opt(c, TORRENT_TO_SEED, &[&sha256.to_string()]).await?.as_ref().map(|row| get(row, "torrent")).transpose()
}

/// The artifacts that can be put away.
///
/// Those on their way out, then those of withdrawn releases alone that no current plan names and none named after
/// `unnamed_since`, the least recently wanted first. At most `limit`. Named after `latest`, the clock was wrong, and the name
/// does not count.
///
/// # Errors
/// As every statement.
pub async fn due<C: GenericClient>(
    c: &C,
    unnamed_since: Option<DateTime<Utc>>,
    latest: DateTime<Utc>,
    limit: i64,
) -> Result<Vec<ArtifactRef>, DatabaseError> {
    query(c, DUE, &[&unnamed_since, &unnamed_since.map(|_| latest), &limit]).await?.iter().map(from_row).collect()
}

/// The artifact is on its way out from now on. False if it is needed again.
///
/// # Errors
/// As every statement.
pub async fn leave<C: GenericClient>(c: &C, sha256: &Digest) -> Result<bool, DatabaseError> {
    Ok(execute(c, LEAVE, &[&sha256.to_string()]).await? == 1)
}

/// The daemon does not seed it any more.
///
/// # Errors
/// As every statement.
pub async fn set_dropped<C: GenericClient>(c: &C, sha256: &Digest) -> Result<(), DatabaseError> {
    execute(c, SET_DROPPED, &[&sha256.to_string()]).await.map(drop)
}

/// Forgets an artifact whose file is gone. `c` must be a transaction.
///
/// # Errors
/// As every statement.
pub async fn forget<C: GenericClient>(c: &C, sha256: &Digest) -> Result<(), DatabaseError> {
    let sha256 = sha256.to_string();
    execute(c, UNLINK, &[&sha256]).await?;
    execute(c, FORGET, &[&sha256]).await.map(drop)
}

/// Those of `artifacts` that there are.
///
/// # Errors
/// As every statement.
pub async fn known<C: GenericClient>(c: &C, artifacts: &[Digest]) -> Result<HashSet<Digest>, DatabaseError> {
    let artifacts: Vec<String> = artifacts.iter().map(ToString::to_string).collect();
    query(c, KNOWN, &[&artifacts]).await?.iter().map(|row| text(row, "sha256")).collect()
}

/// Bytes of all artifacts, and of all archives that are or will be in the store.
///
/// # Errors
/// As every statement.
pub async fn store_use<C: GenericClient>(c: &C) -> Result<(u64, u64), DatabaseError> {
    let row = query_one(c, STORE_USE, &[]).await?;
    Ok((unsigned(&row, "artifacts")?, unsigned(&row, "archives")?))
}

/// The artifacts whose releases say that they are missing.
///
/// # Errors
/// As every statement.
pub async fn told_missing<C: GenericClient>(c: &C) -> Result<HashSet<Digest>, DatabaseError> {
    let codes = MISSING.map(|code| code.to_string());
    query(c, TOLD_MISSING, &[&codes.as_slice()]).await?.iter().map(|row| text(row, "artifact_sha256")).collect()
}

/// Makes the published releases of an artifact give `reason`, or none.
///
/// # Errors
/// As every statement.
pub async fn tell_missing<C: GenericClient>(
    c: &C,
    sha256: &Digest,
    reason: Option<&Reason>,
) -> Result<(), DatabaseError> {
    let (text, json) = reasons_columns(reason.map_or(&[], std::slice::from_ref))?;
    execute(c, TELL_MISSING, &[&sha256.to_string(), &text, &json]).await.map(drop)
}

/// An artifact of a published release.
///
/// # Errors
/// As every statement.
pub async fn find_published<C: GenericClient>(c: &C, sha256: &Digest) -> Result<Option<ArtifactRef>, DatabaseError> {
    query_opt(c, FIND_PUBLISHED, &[&sha256.to_string()]).await?.as_ref().map(from_row).transpose()
}

/// The last plan that named these artifacts for some branch was replaced at `at`.
///
/// # Errors
/// As every statement.
pub async fn named_until<C: GenericClient>(
    c: &C,
    artifacts: &[Digest],
    at: DateTime<Utc>,
) -> Result<(), DatabaseError> {
    let artifacts: Vec<String> = artifacts.iter().map(ToString::to_string).collect();
    execute(c, NAMED_UNTIL, &[&artifacts, &at]).await.map(drop)
}

/// The torrent of an artifact, without trackers.
///
/// # Errors
/// As every statement.
pub async fn torrent<C: GenericClient>(c: &C, sha256: &Digest) -> Result<Option<Vec<u8>>, DatabaseError> {
    query_opt(c, TORRENT, &[&sha256.to_string()]).await?.as_ref().map(|row| get(row, "torrent")).transpose()
}
