//! Table `artifacts`: every artifact that a plan named, and its progress here.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use fleet_types::{Digest, InfoHash};
use tokio_postgres::Row;
use wire::Reason;
use wire::v1::plan::{ArtifactRef, PayloadRef};

use super::rows::{Params, digest, get, info_hash, parsed, reason, reason_json, signed, unsigned};
use crate::model::{Stage, Wanted};
use service_kit::database::{DatabaseError, GenericClient, execute, query, query_opt};

service_kit::statements! {
    ALL = "select sha256, length, index_sha256, index_length, info_hash, payload_name, payload_sha256, payload_length,
             manifest, product, version, stage, have_bytes, trouble, trouble_json, mismatches, retry_after,
             unnamed_since
         from artifacts order by sha256";
    READ = "select sha256, length, index_sha256, index_length, info_hash, payload_name, payload_sha256, payload_length,
             manifest, product, version, stage, have_bytes, trouble, trouble_json, mismatches, retry_after,
             unnamed_since
         from artifacts where sha256 = $1";
    INDEX = "select stage, index as body from artifacts where sha256 = $1";
    TORRENT = "select stage, torrent as body from artifacts where sha256 = $1";
    LISTED = "select info_hash from artifacts where stage in ('described', 'listed', 'held')";
    INSERT = "insert into artifacts (sha256, length, index_sha256, index_length, info_hash, payload_name, payload_sha256,
             payload_length, manifest, product, version)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) on conflict do nothing";
    RETITLE = "update artifacts set manifest = $2, product = $3, version = $4 where sha256 = $1";
    DESCRIBE = "update artifacts set index = $2, torrent = $3, stage = 'described' where sha256 = $1 and stage = 'wanted'";
    RETORRENT = "update artifacts set torrent = $2 where sha256 = $1 and stage in ('described', 'listed', 'held')
         and torrent is distinct from $2";
    SET_STAGE = "update artifacts set stage = $3 where sha256 = $1 and stage = $2";
    HOLD = "update artifacts
         set stage = 'held', have_bytes = length, trouble = null, trouble_json = null, mismatches = 0, retry_after = null
         where sha256 = $1 and stage = 'listed'";
    DROPPING = "update artifacts set stage = 'dropping' where sha256 = $1";
    RESET = "update artifacts set stage = 'wanted', index = null, torrent = null, have_bytes = 0, retry_after = $2
         where sha256 = $1";
    PROGRESS = "update artifacts set have_bytes = $2, trouble = $3, trouble_json = $4
         where sha256 = $1 and (have_bytes <> $2 or trouble is distinct from $3)";
    MISMATCH = "update artifacts set mismatches = mismatches + 1 where sha256 = $1 returning mismatches";
    BACK_OFF = "update artifacts set retry_after = $2 where sha256 = $1";
    NAMED = "update artifacts set unnamed_since = $2 where sha256 = $1";
    DELETE = "delete from artifacts where sha256 = $1";
}

/// A row, without its index and torrent.
#[derive(Debug, Clone)]
pub struct Record {
    /// What the plan said about it.
    pub wanted: Wanted,
    /// Its stage.
    pub stage: Stage,
    /// Bytes verified on the disk, as last seen.
    pub have_bytes: u64,
    /// What keeps it from getting on.
    pub trouble: Option<Reason>,
    /// How often its complete file was not what the plan says.
    pub mismatches: u32,
    /// Until when it rests.
    pub retry_after: Option<DateTime<Utc>>,
    /// Since when no plan names it.
    pub unnamed_since: Option<DateTime<Utc>>,
}

fn stage(row: &Row) -> Result<Stage, DatabaseError> {
    let text = get::<&str>(row, "stage")?;
    let all = [Stage::Wanted, Stage::Described, Stage::Listed, Stage::Held, Stage::Dropping];
    let found = all.into_iter().find(|s| s.as_str() == text);
    found.ok_or_else(|| DatabaseError::value("artifacts.stage", format!("{text:?} is not a valid stage")))
}

fn record(row: &Row) -> Result<Record, DatabaseError> {
    let wanted = Wanted {
        artifact: ArtifactRef {
            sha256: digest(row, "sha256")?,
            length: unsigned(row, "length")?,
            index_sha256: digest(row, "index_sha256")?,
            index_length: unsigned(row, "index_length")?,
            info_hash: info_hash(row, "info_hash")?,
        },
        payload: PayloadRef {
            name: get(row, "payload_name")?,
            sha256: digest(row, "payload_sha256")?,
            length: unsigned(row, "payload_length")?,
        },
        manifest: digest(row, "manifest")?,
        product: parsed(row, "product")?,
        version: parsed(row, "version")?,
    };
    Ok(Record {
        wanted,
        stage: stage(row)?,
        have_bytes: unsigned(row, "have_bytes")?,
        trouble: reason(row, None, "trouble", "trouble_json")?,
        mismatches: u32::try_from(get::<i32>(row, "mismatches")?).unwrap_or(0),
        retry_after: get(row, "retry_after")?,
        unnamed_since: get(row, "unnamed_since")?,
    })
}

/// Every artifact, by digest.
pub async fn all(client: &impl GenericClient) -> Result<Vec<Record>, DatabaseError> {
    query(client, ALL, &[]).await?.iter().map(record).collect()
}

/// One artifact.
pub async fn read(client: &impl GenericClient, sha256: &Digest) -> Result<Option<Record>, DatabaseError> {
    query_opt(client, READ, &[&&sha256.as_bytes()[..]]).await?.as_ref().map(record).transpose()
}

fn body(row: &Row) -> Result<(Stage, Option<Vec<u8>>), DatabaseError> {
    Ok((stage(row)?, get(row, "body")?))
}

/// An artifact's stage and its index, if it is here.
pub async fn index(
    client: &impl GenericClient,
    sha256: &Digest,
) -> Result<Option<(Stage, Option<Vec<u8>>)>, DatabaseError> {
    query_opt(client, INDEX, &[&&sha256.as_bytes()[..]]).await?.as_ref().map(body).transpose()
}

/// An artifact's stage and its torrent as head office made it, if it is here.
pub async fn torrent(
    client: &impl GenericClient,
    sha256: &Digest,
) -> Result<Option<(Stage, Option<Vec<u8>>)>, DatabaseError> {
    query_opt(client, TORRENT, &[&&sha256.as_bytes()[..]]).await?.as_ref().map(body).transpose()
}

/// The info hashes that the local tracker is to accept.
pub async fn listed(client: &impl GenericClient) -> Result<BTreeSet<InfoHash>, DatabaseError> {
    query(client, LISTED, &[]).await?.iter().map(|row| info_hash(row, "info_hash")).collect()
}

/// Records an artifact that the plan names. Nothing happens if it is known.
pub async fn insert(client: &impl GenericClient, wanted: &Wanted) -> Result<(), DatabaseError> {
    let (a, p) = (&wanted.artifact, &wanted.payload);
    let params: Params<'_> = &[
        &&a.sha256.as_bytes()[..],
        &signed(a.length),
        &&a.index_sha256.as_bytes()[..],
        &signed(a.index_length),
        &&a.info_hash.as_bytes()[..],
        &p.name,
        &&p.sha256.as_bytes()[..],
        &signed(p.length),
        &&wanted.manifest.as_bytes()[..],
        &wanted.product.as_str(),
        &wanted.version.to_string(),
    ];
    execute(client, INSERT, params).await.map(drop)
}

/// Another release of the same artifact is planned now.
pub async fn retitle(client: &impl GenericClient, wanted: &Wanted) -> Result<(), DatabaseError> {
    let params: Params<'_> = &[
        &&wanted.artifact.sha256.as_bytes()[..],
        &&wanted.manifest.as_bytes()[..],
        &wanted.product.as_str(),
        &wanted.version.to_string(),
    ];
    execute(client, RETITLE, params).await.map(drop)
}

/// Keeps its index and torrent, both checked: it is described.
pub async fn describe(
    client: &impl GenericClient,
    sha256: &Digest,
    index: &[u8],
    torrent: &[u8],
) -> Result<(), DatabaseError> {
    execute(client, DESCRIBE, &[&&sha256.as_bytes()[..], &index, &torrent]).await.map(drop)
}

/// Its torrent names other trackers now; `false` if it is the recorded one.
pub async fn set_torrent(client: &impl GenericClient, sha256: &Digest, torrent: &[u8]) -> Result<bool, DatabaseError> {
    Ok(execute(client, RETORRENT, &[&&sha256.as_bytes()[..], &torrent]).await? == 1)
}

/// Moves it from one stage to another; `false` if it is not in the first.
pub async fn set_stage(
    client: &impl GenericClient,
    sha256: &Digest,
    from: Stage,
    to: Stage,
) -> Result<bool, DatabaseError> {
    Ok(execute(client, SET_STAGE, &[&&sha256.as_bytes()[..], &from.as_str(), &to.as_str()]).await? == 1)
}

/// The whole file was hashed and is what the plan says; `false` if the artifact went another way meanwhile.
pub async fn hold(client: &impl GenericClient, sha256: &Digest) -> Result<bool, DatabaseError> {
    Ok(execute(client, HOLD, &[&&sha256.as_bytes()[..]]).await? == 1)
}

/// Its removal begins; terminals are not offered it from now on.
pub async fn set_dropping(client: &impl GenericClient, sha256: &Digest) -> Result<(), DatabaseError> {
    execute(client, DROPPING, &[&&sha256.as_bytes()[..]]).await.map(drop)
}

/// It begins again with nothing, not before `retry_after`.
pub async fn reset(
    client: &impl GenericClient,
    sha256: &Digest,
    retry_after: DateTime<Utc>,
) -> Result<(), DatabaseError> {
    execute(client, RESET, &[&&sha256.as_bytes()[..], &retry_after]).await.map(drop)
}

/// How many bytes are here, and what is in the way. `true` if that is news.
pub async fn set_progress(
    client: &impl GenericClient,
    sha256: &Digest,
    have_bytes: u64,
    trouble: Option<&Reason>,
) -> Result<bool, DatabaseError> {
    let (text, json) = (trouble.map(|r| r.text.as_str()), reason_json(trouble, "trouble_json")?);
    Ok(execute(client, PROGRESS, &[&&sha256.as_bytes()[..], &signed(have_bytes), &text, &json]).await? == 1)
}

/// Its complete file is not what the plan says; how often that was so, this time included.
pub async fn count_mismatch(client: &impl GenericClient, sha256: &Digest) -> Result<u32, DatabaseError> {
    let row = query_opt(client, MISMATCH, &[&&sha256.as_bytes()[..]]).await?;
    let count = row.as_ref().map(|row| get::<i32>(row, "mismatches")).transpose()?;
    Ok(count.and_then(|c| u32::try_from(c).ok()).unwrap_or(0))
}

/// Starts a backoff: nothing is tried before `until`.
pub async fn back_off(client: &impl GenericClient, sha256: &Digest, until: DateTime<Utc>) -> Result<(), DatabaseError> {
    execute(client, BACK_OFF, &[&&sha256.as_bytes()[..], &until]).await.map(drop)
}

/// Since when no plan names it; none if one does.
pub async fn set_unnamed_since(
    client: &impl GenericClient,
    sha256: &Digest,
    since: Option<DateTime<Utc>>,
) -> Result<(), DatabaseError> {
    execute(client, NAMED, &[&&sha256.as_bytes()[..], &since]).await.map(drop)
}

/// Forgets it.
pub async fn delete(client: &impl GenericClient, sha256: &Digest) -> Result<(), DatabaseError> {
    execute(client, DELETE, &[&&sha256.as_bytes()[..]]).await.map(drop)
}
