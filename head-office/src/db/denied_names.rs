//! Tables `denied_names` and `replaced_keys`, and the denied ones of table `terminals`: what a server of a branch must not let in.

use chrono::{DateTime, Utc};
use fleet_types::{BranchName, Digest, TerminalName};
use service_kit::database::{DatabaseError, GenericClient, execute, query, query_opt};
use trust::PublicKey;

use super::row::{get, text};

/// Most denied terminals that a branch server is told of: as many as a branch may have.
const MAX_TERMINALS: i64 = 10_000;

/// Most keys of former servers that a branch server is told of, the newest first.
const MAX_ISSUERS: i64 = 1_000;

/// Most replaced keys of terminals that a branch server is told of, the newest first.
const MAX_KEYS: i64 = 1_000;

service_kit::statements! {
    TERMINALS = "SELECT name FROM terminals WHERE branch = $1 AND denied_at IS NOT NULL
        UNION SELECT name FROM denied_names WHERE branch = $1 ORDER BY name LIMIT $2";
    ISSUERS = "SELECT key_sha256 FROM removed_keys WHERE name = $1 AND denied ORDER BY removed_at DESC LIMIT $2";
    REMEMBER = "INSERT INTO denied_names (branch, name, denied_at)
        SELECT branch, name, denied_at FROM terminals WHERE branch = $1 AND denied_at IS NOT NULL
        ON CONFLICT (branch, name) DO NOTHING";
    REMEMBER_ONE = "INSERT INTO denied_names (branch, name, denied_at)
        SELECT branch, name, denied_at FROM terminals WHERE branch = $1 AND name = $2 AND denied_at IS NOT NULL
        ON CONFLICT (branch, name) DO NOTHING";
    // Bounded as terminals are: a branch must not fill the table with inventions.
    REMEMBER_UNKNOWN = "INSERT INTO denied_names (branch, name, denied_at) SELECT $1, $2::text, $3::timestamptz
        WHERE (SELECT count(*) FROM denied_names WHERE branch = $1) < $4
        ON CONFLICT (branch, name) DO NOTHING";
    REMEMBERED = "SELECT denied_at FROM denied_names WHERE branch = $1 AND name = $2";
    FORGET = "DELETE FROM denied_names WHERE branch = $1 AND name = $2";
    KEYS = "SELECT key FROM replaced_keys WHERE branch = $1 ORDER BY replaced_at DESC, name, key LIMIT $2";
    REPLACED = "INSERT INTO replaced_keys (branch, name, key, replaced_at)
        SELECT branch, name, report_key, $4 FROM terminals
        WHERE branch = $1 AND name = $2 AND asked_key = $3 AND report_key IS NOT NULL
        ON CONFLICT (branch, name, key) DO UPDATE SET replaced_at = excluded.replaced_at";
    FORGET_KEY = "DELETE FROM replaced_keys WHERE branch = $1 AND name = $2 AND key = $3";
    FORGET_KEYS = "DELETE FROM replaced_keys WHERE branch = $1 AND name = $2";
}

/// The denied terminals of a branch.
///
/// # Errors
/// As every statement.
pub async fn terminals<C: GenericClient>(c: &C, branch: &BranchName) -> Result<Vec<TerminalName>, DatabaseError> {
    query(c, TERMINALS, &[&branch.as_str(), &MAX_TERMINALS]).await?.iter().map(|row| text(row, "name")).collect()
}

/// The keys of former servers of a branch that were denied.
///
/// # Errors
/// As every statement.
pub async fn issuers<C: GenericClient>(c: &C, branch: &BranchName) -> Result<Vec<Digest>, DatabaseError> {
    query(c, ISSUERS, &[&branch.as_str(), &MAX_ISSUERS]).await?.iter().map(|row| text(row, "key_sha256")).collect()
}

/// Remembers the denied terminals of a branch that is about to be removed.
///
/// # Errors
/// As every statement.
pub async fn remember<C: GenericClient>(c: &C, branch: &BranchName) -> Result<(), DatabaseError> {
    execute(c, REMEMBER, &[&branch.as_str()]).await.map(drop)
}

/// Remembers that a terminal is denied, if it is, before it is removed.
///
/// # Errors
/// As every statement.
pub async fn remember_one<C: GenericClient>(
    c: &C,
    branch: &BranchName,
    name: &TerminalName,
) -> Result<(), DatabaseError> {
    execute(c, REMEMBER_ONE, &[&branch.as_str(), &name.as_str()]).await.map(drop)
}

/// Remembers that a terminal is denied that is not known here, as after this database was lost. False if too many are.
///
/// # Errors
/// As every statement.
pub async fn remember_unknown<C: GenericClient>(
    c: &C,
    branch: &BranchName,
    name: &TerminalName,
    at: DateTime<Utc>,
) -> Result<bool, DatabaseError> {
    let params: [&(dyn tokio_postgres::types::ToSql + Sync); 4] =
        [&branch.as_str(), &name.as_str(), &at, &MAX_TERMINALS];
    Ok(execute(c, REMEMBER_UNKNOWN, &params).await? == 1 || remembered(c, branch, name).await?.is_some())
}

/// Returns since when a terminal is denied that was removed; none if its denial is not remembered.
///
/// # Errors
/// As every statement.
pub async fn remembered<C: GenericClient>(
    c: &C,
    branch: &BranchName,
    name: &TerminalName,
) -> Result<Option<DateTime<Utc>>, DatabaseError> {
    let row = query_opt(c, REMEMBERED, &[&branch.as_str(), &name.as_str()]).await?;
    row.map(|row| get(&row, "denied_at")).transpose()
}

/// The keys of a branch's terminals that were replaced.
///
/// # Errors
/// As every statement.
pub async fn keys<C: GenericClient>(c: &C, branch: &BranchName) -> Result<Vec<String>, DatabaseError> {
    query(c, KEYS, &[&branch.as_str(), &MAX_KEYS]).await?.iter().map(|row| get(row, "key")).collect()
}

/// Remembers the key of a terminal that `by` is about to replace; `by` itself counts again.
///
/// # Errors
/// As every statement.
pub async fn replaced<C: GenericClient>(
    c: &C,
    branch: &BranchName,
    name: &TerminalName,
    by: &PublicKey,
    now: DateTime<Utc>,
) -> Result<(), DatabaseError> {
    let (branch, name, by) = (branch.as_str(), name.as_str(), by.to_string());
    execute(c, REPLACED, &[&branch, &name, &by, &now]).await?;
    execute(c, FORGET_KEY, &[&branch, &name, &by]).await.map(drop)
}

/// Forgets the keys of a terminal that were replaced.
///
/// # Errors
/// As every statement.
pub async fn forget_keys<C: GenericClient>(
    c: &C,
    branch: &BranchName,
    name: &TerminalName,
) -> Result<(), DatabaseError> {
    execute(c, FORGET_KEYS, &[&branch.as_str(), &name.as_str()]).await.map(drop)
}

/// Forgets that a terminal is denied. False if that was not remembered.
///
/// # Errors
/// As every statement.
pub async fn forget<C: GenericClient>(c: &C, branch: &BranchName, name: &TerminalName) -> Result<bool, DatabaseError> {
    Ok(execute(c, FORGET, &[&branch.as_str(), &name.as_str()]).await? == 1)
}
