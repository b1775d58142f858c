//! Table `branches`, and what branches hold (`branch_artifacts`).

use chrono::{DateTime, Utc};
use fleet_types::{BranchName, Digest};
use service_kit::database::{DatabaseError, GenericClient, execute, query, query_opt};
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
    // Holds the branch until the transaction ends: its plans are made one after the other.
    LOCK = "SELECT name FROM branches WHERE name = $1 FOR UPDATE";
    ALL = "SELECT name, enrolled_at, last_heard FROM branches ORDER BY name LIMIT $1";
    SET_ARTIFACT = "INSERT INTO branch_artifacts (branch, artifact, have_bytes, complete, trouble, at)
        VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (branch, artifact)
        DO UPDATE SET have_bytes = $3, complete = $4, trouble = $5, at = $6";
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

/// Branches by name, at most `limit`.
///
/// # Errors
/// As every statement.
pub async fn all<C: GenericClient>(c: &C, limit: i64) -> Result<Vec<BranchRow>, DatabaseError> {
    query(c, ALL, &[&limit]).await?.iter().map(from_row).collect()
}

/// Stores what a branch holds of an artifact.
///
/// # Errors
/// As every statement.
pub async fn set_artifact<C: GenericClient>(c: &C, held: &HeldRow, at: DateTime<Utc>) -> Result<(), DatabaseError> {
    let (branch, artifact) = (held.branch.as_str(), held.artifact.to_string());
    let have = signed(held.have_bytes);
    execute(c, SET_ARTIFACT, &[&branch, &artifact, &have, &held.complete, &held.trouble, &at]).await.map(drop)
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
