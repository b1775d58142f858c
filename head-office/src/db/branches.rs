//! Table `branches`, and what branches hold (`branch_artifacts`).

use chrono::{DateTime, TimeDelta, Utc};
use fleet_types::{BranchName, Digest};
use service_kit::database::{DatabaseError, GenericClient, execute, query, query_one, query_opt};
use tokio_postgres::Row;

use super::{get, signed, text, unsigned};

service_kit::statements! {
    // Adding a branch again is allowed while nobody joined and its token can no longer be used.
    INSERT = "INSERT INTO branches (name, join_token_sha256, join_token_expires, created_by, created_at)
        VALUES ($1, $2, $3, $4, $5)
        ON CONFLICT (name) DO UPDATE SET join_token_sha256 = $2, join_token_expires = $3
            WHERE branches.enrolled_at IS NULL AND branches.join_token_expires <= $5";
    ENROL = "UPDATE branches SET token_sha256 = $2, join_token_sha256 = NULL, enrolled_at = $3, last_heard = $3
        WHERE join_token_sha256 = $1 AND join_token_expires > $3 RETURNING name";
    BY_TOKEN = "SELECT name FROM branches WHERE token_sha256 = $1";
    HEARD = "UPDATE branches SET last_heard = $2
        WHERE name = $1 AND (last_heard IS NULL OR last_heard < $2::timestamptz - interval '5 seconds')";
    SELECT = "SELECT name, enrolled_at, last_heard FROM branches WHERE name = $1";
    // In order of names: of two transactions that hold many branches each, one waits for the other and not both.
    LOCK_ALL = "SELECT name FROM branches WHERE name = ANY($1) ORDER BY name FOR UPDATE";
    REMOVE = "DELETE FROM branches WHERE name = $1 RETURNING token_sha256";
    REMOVE_ARTIFACTS = "DELETE FROM branch_artifacts WHERE branch = $1";
    REMEMBER_REMOVED = "INSERT INTO removed_branches (token_sha256, name, removed_by, removed_at)
        VALUES ($1, $2, $3, $4) ON CONFLICT (token_sha256) DO NOTHING";
    REMOVED_BY_TOKEN = "SELECT name, removed_at FROM removed_branches WHERE token_sha256 = $1";
    // Holds the branch until the transaction ends: its plans are made one after the other.
    LOCK = "SELECT name FROM branches WHERE name = $1 FOR UPDATE";
    ALL = "SELECT name, enrolled_at, last_heard FROM branches WHERE name > $1 ORDER BY name LIMIT $2";
    COUNT_BY_FRESHNESS = "SELECT count(*) FILTER (WHERE last_heard > $1) AS within_5_minutes,
        count(*) FILTER (WHERE last_heard <= $1 AND last_heard > $2) AS within_1_day,
        count(*) FILTER (WHERE last_heard <= $2) AS longer_ago,
        count(*) FILTER (WHERE last_heard IS NULL) AS never FROM branches";
    COUNT = "SELECT count(*) FROM branches";
    SET_ARTIFACT = "WITH before AS (SELECT complete FROM branch_artifacts WHERE branch = $1 AND artifact = $2)
        INSERT INTO branch_artifacts (branch, artifact, have_bytes, complete, trouble, at)
        VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (branch, artifact)
        DO UPDATE SET have_bytes = $3, complete = $4, trouble = $5, at = $6
        RETURNING coalesce((SELECT complete FROM before), false) AND NOT complete AS lost";
    ARTIFACTS = "SELECT branch, artifact, have_bytes, complete, trouble FROM branch_artifacts WHERE branch = ANY($1)";
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
    pub trouble: Option<String>,
}

fn from_row(row: &Row) -> Result<BranchRow, DatabaseError> {
    Ok(BranchRow { name: text(row, "name")?, enrolled: get(row, "enrolled_at")?, last_heard: get(row, "last_heard")? })
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

/// Exchanges a join token for `token`, once; the branch it belongs to, or none.
///
/// # Errors
/// As every statement.
pub async fn enrol<C: GenericClient>(
    c: &C,
    join_token: &Digest,
    token: &Digest,
    now: DateTime<Utc>,
) -> Result<Option<BranchName>, DatabaseError> {
    let row = query_opt(c, ENROL, &[&join_token.to_string(), &token.to_string(), &now]).await?;
    row.as_ref().map(|row| text(row, "name")).transpose()
}

/// Whose token this is.
///
/// # Errors
/// As every statement.
pub async fn by_token<C: GenericClient>(c: &C, token: &Digest) -> Result<Option<BranchName>, DatabaseError> {
    query_opt(c, BY_TOKEN, &[&token.to_string()]).await?.as_ref().map(|row| text(row, "name")).transpose()
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

/// Holds a branch until the transaction ends. False if there is none of that name.
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

/// Forgets a branch that nothing refers to any more, and remembers that its server's identity is void.
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
    let token: Option<String> = row.as_ref().map(|row| get(row, "token_sha256")).transpose()?.flatten();
    if let Some(token) = token {
        execute(c, REMEMBER_REMOVED, &[&token, &name.as_str(), &by, &now]).await?;
    }
    Ok(())
}

/// The removed branch whose token this was, and when it was removed.
///
/// # Errors
/// As every statement.
pub async fn removed_by_token<C: GenericClient>(
    c: &C,
    token: &Digest,
) -> Result<Option<(BranchName, DateTime<Utc>)>, DatabaseError> {
    let row = query_opt(c, REMOVED_BY_TOKEN, &[&token.to_string()]).await?;
    row.as_ref().map(|row| Ok((text(row, "name")?, get(row, "removed_at")?))).transpose()
}

/// The `limit` next branches after `after` by name; from the first on for an empty `after`.
///
/// # Errors
/// As every statement.
pub async fn all<C: GenericClient>(c: &C, after: &str, limit: i64) -> Result<Vec<BranchRow>, DatabaseError> {
    query(c, ALL, &[&after, &limit]).await?.iter().map(from_row).collect()
}

/// How many branches were heard within the last five minutes, the last day, longer ago, and never.
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

/// Stores what a branch holds of an artifact; whether it was complete there and is not any more.
///
/// # Errors
/// As every statement.
pub async fn set_artifact<C: GenericClient>(c: &C, held: &HeldRow, at: DateTime<Utc>) -> Result<bool, DatabaseError> {
    let (branch, artifact) = (held.branch.as_str(), held.artifact.to_string());
    let have = signed(held.have_bytes);
    let parameters: [&(dyn tokio_postgres::types::ToSql + Sync); 6] =
        [&branch, &artifact, &have, &held.complete, &held.trouble, &at];
    get(&query_one(c, SET_ARTIFACT, &parameters).await?, "lost")
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
                trouble: get(row, "trouble")?,
            })
        })
        .collect()
}
