//! Table `branches`, and what branches hold (`branch_artifacts`).

use std::collections::BTreeSet;

use chrono::{DateTime, TimeDelta, Utc};
use fleet_types::{BranchName, Digest};
use service_kit::database::{DatabaseError, GenericClient, execute, query, query_one, query_opt};
use tokio_postgres::Row;
use wire::Reason;

use super::row::{get, reason, reason_columns, signed, text, text_opt, unsigned};

service_kit::statements! {
    // Adding a branch again is allowed while no server joined and its token expired.
    INSERT = "INSERT INTO branches (name, join_token_sha256, join_token_expires, created_by, created_at)
        VALUES ($1, $2, $3, $4, $5)
        ON CONFLICT (name) DO UPDATE SET join_token_sha256 = $2, join_token_expires = $3
            WHERE branches.enrolled_at IS NULL AND branches.join_token_expires <= $5";
    BY_JOIN_TOKEN = "SELECT name, enrolled_at, join_token_expires, key_sha256, certificate, denied_at FROM branches
        WHERE join_token_sha256 = $1 FOR UPDATE";
    BY_KEY = "SELECT name, enrolled_at, join_token_expires, key_sha256, certificate, denied_at FROM branches
        WHERE key_sha256 = $1 FOR UPDATE";
    // The first enrolment keeps its time.
    ENROL = "UPDATE branches SET key_sha256 = $2, certificate = $3, last_heard = $4,
        enrolled_at = coalesce(enrolled_at, $4) WHERE name = $1";
    KNOWN = "SELECT key_sha256, denied_at FROM branches WHERE name = $1";
    KEYS = "SELECT name, key_sha256 FROM branches WHERE key_sha256 IS NOT NULL AND denied_at IS NULL";
    DENY = "UPDATE branches SET denied_at = $2 WHERE name = $1";
    HEARD = "UPDATE branches SET last_heard = $2
        WHERE name = $1 AND (last_heard IS NULL OR last_heard < $2::timestamptz - interval '5 seconds')";
    SELECT = "SELECT name, enrolled_at, last_heard, denied_at FROM branches WHERE name = $1";
    // In order of names: of two transactions that hold many branches each, one waits for the other and not both.
    LOCK_ALL = "SELECT name FROM branches WHERE name = ANY($1) ORDER BY name FOR UPDATE";
    REMOVE = "DELETE FROM branches WHERE name = $1 RETURNING key_sha256, denied_at";
    REMOVE_ARTIFACTS = "DELETE FROM branch_artifacts WHERE branch = $1";
    REMEMBER_REMOVED = "INSERT INTO removed_keys (key_sha256, name, removed_by, removed_at, denied)
        VALUES ($1, $2, $3, $4, $5)
        ON CONFLICT (key_sha256) DO UPDATE SET name = $2, removed_by = $3, removed_at = $4, denied = removed_keys.denied OR $5";
    REMOVED_BY_KEY = "SELECT name, removed_at, denied FROM removed_keys WHERE key_sha256 = $1";
    // Holds the branch until the transaction ends: its plans are made one after the other.
    LOCK = "SELECT name FROM branches WHERE name = $1 FOR UPDATE";
    ALL = "SELECT name, enrolled_at, last_heard, denied_at FROM branches WHERE name > $1 ORDER BY name LIMIT $2";
    COUNT_BY_FRESHNESS = "SELECT count(*) FILTER (WHERE last_heard > $1) AS within_5_minutes,
        count(*) FILTER (WHERE last_heard <= $1 AND last_heard > $2) AS within_1_day,
        count(*) FILTER (WHERE last_heard <= $2) AS longer_ago,
        count(*) FILTER (WHERE last_heard IS NULL) AS never FROM branches";
    COUNT = "SELECT count(*) FROM branches";
    SET_ARTIFACT = "WITH before AS (SELECT complete, have_bytes FROM branch_artifacts WHERE branch = $1 AND artifact = $2)
        INSERT INTO branch_artifacts (branch, artifact, have_bytes, complete, trouble, at, trouble_json)
        VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (branch, artifact)
        DO UPDATE SET have_bytes = $3, complete = $4, trouble = $5, at = $6, trouble_json = $7
        RETURNING coalesce((SELECT complete FROM before), false) AND NOT complete AS lost,
            complete OR have_bytes > coalesce((SELECT have_bytes FROM before), 0) AS grew";
    FETCHED = "SELECT DISTINCT artifact FROM branch_artifacts WHERE NOT complete AND artifact = ANY($1)";
    ARTIFACTS = "SELECT branch, artifact, have_bytes, complete, trouble, trouble_json FROM branch_artifacts WHERE branch = ANY($1)";
}

/// A row.
#[derive(Debug, Clone)]
pub struct BranchRow {
    /// Its name.
    pub name: BranchName,
    /// When its server enrolled.
    pub enrolled: Option<DateTime<Utc>>,
    /// When it was last heard.
    pub last_heard: Option<DateTime<Utc>>,
    /// Since when its server's key is denied.
    pub denied: Option<DateTime<Utc>>,
}

/// What a branch server is let in by, or was.
#[derive(Debug, Clone)]
pub struct IdentityRow {
    /// The branch.
    pub name: BranchName,
    /// When a server enrolled first.
    pub enrolled: Option<DateTime<Utc>>,
    /// Until when the join token may be used.
    pub join_token_expires: Option<DateTime<Utc>>,
    /// SHA-256 of the key that enrolled.
    pub key: Option<Digest>,
    /// What was issued for it last, in DER.
    pub certificate: Option<Vec<u8>>,
    /// Since when it is denied.
    pub denied: Option<DateTime<Utc>>,
}

/// A branch that is gone, by the key of its server.
#[derive(Debug, Clone)]
pub struct RemovedRow {
    /// Its name.
    pub name: BranchName,
    /// When it was removed.
    pub at: DateTime<Utc>,
    /// Whether the key was denied by then.
    pub denied: bool,
}

/// What a branch holds of an artifact.
#[derive(Debug, Clone)]
pub struct HeldRow {
    /// The branch.
    pub branch: BranchName,
    /// The artifact.
    pub artifact: Digest,
    /// Verified bytes.
    pub have_bytes: u64,
    /// Whether all is there.
    pub complete: bool,
    /// What keeps it from getting on.
    pub trouble: Option<Reason>,
}

fn from_row(row: &Row) -> Result<BranchRow, DatabaseError> {
    Ok(BranchRow {
        name: text(row, "name")?,
        enrolled: get(row, "enrolled_at")?,
        last_heard: get(row, "last_heard")?,
        denied: get(row, "denied_at")?,
    })
}

fn identity_from_row(row: &Row) -> Result<IdentityRow, DatabaseError> {
    Ok(IdentityRow {
        name: text(row, "name")?,
        enrolled: get(row, "enrolled_at")?,
        join_token_expires: get(row, "join_token_expires")?,
        key: text_opt(row, "key_sha256")?,
        certificate: get(row, "certificate")?,
        denied: get(row, "denied_at")?,
    })
}

/// Adds a branch with its join token. False if the name is taken.
///
/// # Errors
/// As every statement.
pub async fn insert<C: GenericClient>(
    c: &C,
    name: &BranchName,
    join_token: &Digest,
    expires: DateTime<Utc>,
    by: &str,
    now: DateTime<Utc>,
) -> Result<bool, DatabaseError> {
    let params: [&(dyn tokio_postgres::types::ToSql + Sync); 5] =
        [&name.as_str(), &join_token.to_string(), &expires, &by, &now];
    Ok(execute(c, INSERT, &params).await? == 1)
}

/// The branch that a join token is for. Held until the transaction ends.
///
/// # Errors
/// As every statement.
pub async fn by_join_token<C: GenericClient>(c: &C, token: &Digest) -> Result<Option<IdentityRow>, DatabaseError> {
    query_opt(c, BY_JOIN_TOKEN, &[&token.to_string()]).await?.as_ref().map(identity_from_row).transpose()
}

/// The branch whose server has this key. Held until the transaction ends.
///
/// # Errors
/// As every statement.
pub async fn by_key<C: GenericClient>(c: &C, key: &Digest) -> Result<Option<IdentityRow>, DatabaseError> {
    query_opt(c, BY_KEY, &[&key.to_string()]).await?.as_ref().map(identity_from_row).transpose()
}

/// From now on the branch is known by this key, for which `certificate` was issued.
///
/// # Errors
/// As every statement.
pub async fn enrol<C: GenericClient>(
    c: &C,
    name: &BranchName,
    key: &Digest,
    certificate: &[u8],
    now: DateTime<Utc>,
) -> Result<(), DatabaseError> {
    execute(c, ENROL, &[&name.as_str(), &key.to_string(), &certificate, &now]).await.map(drop)
}

/// Returns the key of a branch that enrolled, and since when it is denied.
///
/// # Errors
/// As every statement.
pub async fn known<C: GenericClient>(
    c: &C,
    name: &BranchName,
) -> Result<Option<(Digest, Option<DateTime<Utc>>)>, DatabaseError> {
    let Some(row) = query_opt(c, KNOWN, &[&name.as_str()]).await? else { return Ok(None) };
    let key: Option<Digest> = text_opt(&row, "key_sha256")?;
    key.map(|key| Ok((key, get(&row, "denied_at")?))).transpose()
}

/// Returns the keys of all branches that enrolled and are not denied.
///
/// # Errors
/// As every statement.
pub async fn keys<C: GenericClient>(c: &C) -> Result<Vec<(BranchName, Digest)>, DatabaseError> {
    query(c, KEYS, &[]).await?.iter().map(|row| Ok((text(row, "name")?, text(row, "key_sha256")?))).collect()
}

/// Denies the key of a branch's server since `since`, or lets it count again.
///
/// # Errors
/// As every statement.
pub async fn deny<C: GenericClient>(
    c: &C,
    name: &BranchName,
    since: Option<DateTime<Utc>>,
) -> Result<(), DatabaseError> {
    execute(c, DENY, &[&name.as_str(), &since]).await.map(drop)
}

/// The branch was heard now.
///
/// # Errors
/// As every statement.
pub async fn heard<C: GenericClient>(c: &C, name: &BranchName, now: DateTime<Utc>) -> Result<(), DatabaseError> {
    execute(c, HEARD, &[&name.as_str(), &now]).await.map(drop)
}

/// One branch.
///
/// # Errors
/// As every statement.
pub async fn find<C: GenericClient>(c: &C, name: &BranchName) -> Result<Option<BranchRow>, DatabaseError> {
    query_opt(c, SELECT, &[&name.as_str()]).await?.as_ref().map(from_row).transpose()
}

/// Holds a branch until the transaction ends. False if it does not exist.
///
/// # Errors
/// As every statement.
pub async fn lock<C: GenericClient>(c: &C, name: &BranchName) -> Result<bool, DatabaseError> {
    Ok(query_opt(c, LOCK, &[&name.as_str()]).await?.is_some())
}

/// Holds some branches until the transaction ends.
///
/// # Errors
/// As every statement.
pub async fn lock_all<C: GenericClient>(c: &C, names: &[&str]) -> Result<(), DatabaseError> {
    query(c, LOCK_ALL, &[&names]).await.map(drop)
}

/// Deletes a branch and remembers its server's key as revoked.
///
/// Nothing may refer to the branch any more.
///
/// # Errors
/// As every statement.
pub async fn remove<C: GenericClient>(
    c: &C,
    name: &BranchName,
    by: &str,
    now: DateTime<Utc>,
) -> Result<(), DatabaseError> {
    execute(c, REMOVE_ARTIFACTS, &[&name.as_str()]).await?;
    let row = query_opt(c, REMOVE, &[&name.as_str()]).await?;
    let Some(row) = row else { return Ok(()) };
    let key: Option<Digest> = text_opt(&row, "key_sha256")?;
    let denied = get::<Option<DateTime<Utc>>>(&row, "denied_at")?.is_some();
    if let Some(key) = key {
        execute(c, REMEMBER_REMOVED, &[&key.to_string(), &name.as_str(), &by, &now, &denied]).await?;
    }
    Ok(())
}

/// The removed branch whose server had this key.
///
/// # Errors
/// As every statement.
pub async fn removed_by_key<C: GenericClient>(c: &C, key: &Digest) -> Result<Option<RemovedRow>, DatabaseError> {
    let row = query_opt(c, REMOVED_BY_KEY, &[&key.to_string()]).await?;
    row.as_ref()
        .map(|row| {
            Ok(RemovedRow { name: text(row, "name")?, at: get(row, "removed_at")?, denied: get(row, "denied")? })
        })
        .transpose()
}

/// The `limit` next branches after `after` by name; from the first on for an empty `after`.
///
/// # Errors
/// As every statement.
pub async fn all<C: GenericClient>(c: &C, after: &str, limit: i64) -> Result<Vec<BranchRow>, DatabaseError> {
    query(c, ALL, &[&after, &limit]).await?.iter().map(from_row).collect()
}

/// Counts branches by when they were last heard.
///
/// Within five minutes, within a day, longer ago, and never.
///
/// # Errors
/// As every statement.
pub async fn count_by_freshness<C: GenericClient>(
    c: &C,
    now: DateTime<Utc>,
) -> Result<[(&'static str, u64); 4], DatabaseError> {
    let (minutes, day) = (now - TimeDelta::minutes(5), now - TimeDelta::days(1));
    let row = query_one(c, COUNT_BY_FRESHNESS, &[&minutes, &day]).await?;
    Ok([
        ("within-5-minutes", unsigned(&row, "within_5_minutes")?),
        ("within-1-day", unsigned(&row, "within_1_day")?),
        ("longer-ago", unsigned(&row, "longer_ago")?),
        ("never", unsigned(&row, "never")?),
    ])
}

/// How many there are.
///
/// # Errors
/// As every statement.
pub async fn count<C: GenericClient>(c: &C) -> Result<u64, DatabaseError> {
    unsigned(&query_one(c, COUNT, &[]).await?, "count")
}

/// What a branch holds of an artifact, compared with what it held before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// It was complete and is not any more.
    Lost,
    /// It is complete, or more than before.
    Grew,
    /// Neither.
    Same,
}

/// Stores what a branch holds of an artifact.
///
/// # Errors
/// As every statement.
pub async fn set_artifact<C: GenericClient>(c: &C, held: &HeldRow, at: DateTime<Utc>) -> Result<Change, DatabaseError> {
    let (branch, artifact) = (held.branch.as_str(), held.artifact.to_string());
    let have = signed(held.have_bytes);
    let (_, trouble, json) = reason_columns(held.trouble.as_ref(), "trouble_json")?;
    let parameters: [&(dyn tokio_postgres::types::ToSql + Sync); 7] =
        [&branch, &artifact, &have, &held.complete, &trouble, &at, &json];
    let row = query_one(c, SET_ARTIFACT, &parameters).await?;
    Ok(match (get(&row, "lost")?, get(&row, "grew")?) {
        (true, _) => Change::Lost,
        (false, true) => Change::Grew,
        (false, false) => Change::Same,
    })
}

/// What some branches hold.
///
/// # Errors
/// As every statement.
pub async fn artifacts<C: GenericClient>(c: &C, branches: &[&str]) -> Result<Vec<HeldRow>, DatabaseError> {
    let rows = query(c, ARTIFACTS, &[&branches]).await?;
    rows.iter()
        .map(|row| {
            Ok(HeldRow {
                branch: text(row, "branch")?,
                artifact: text(row, "artifact")?,
                have_bytes: unsigned(row, "have_bytes")?,
                complete: get(row, "complete")?,
                trouble: reason(row, None, "trouble", "trouble_json")?,
            })
        })
        .collect()
}

/// Returns which of these artifacts a branch said it does not have whole yet.
///
/// # Errors
/// As every statement.
pub async fn fetched<C: GenericClient>(c: &C, of: &[Digest]) -> Result<BTreeSet<Digest>, DatabaseError> {
    let of: Vec<String> = of.iter().map(ToString::to_string).collect();
    query(c, FETCHED, &[&of]).await?.iter().map(|row| text(row, "artifact")).collect()
}
