//! Table `denied_names`, and the denied ones of table `terminals`: what a server of a branch must not let in.

use fleet_types::{BranchName, Digest, TerminalName};
use service_kit::database::{DatabaseError, GenericClient, execute, query};

use super::row::text;

/// Most denied terminals that a branch server is told of: as many as a branch may have.
const MAX_TERMINALS: i64 = 10_000;

/// Most keys of former servers that a branch server is told of, the newest first.
const MAX_ISSUERS: i64 = 1_000;

service_kit::statements! {
    TERMINALS = "SELECT name FROM terminals WHERE branch = $1 AND denied_at IS NOT NULL
        UNION SELECT name FROM denied_names WHERE branch = $1 ORDER BY name LIMIT $2";
    ISSUERS = "SELECT key_sha256 FROM removed_keys WHERE name = $1 AND denied ORDER BY removed_at DESC LIMIT $2";
    REMEMBER = "INSERT INTO denied_names (branch, name, denied_at)
        SELECT branch, name, denied_at FROM terminals WHERE branch = $1 AND denied_at IS NOT NULL
        ON CONFLICT (branch, name) DO NOTHING";
    FORGET = "DELETE FROM denied_names WHERE branch = $1 AND name = $2";
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

/// Forgets that a terminal is denied. False if that was not remembered.
///
/// # Errors
/// As every statement.
pub async fn forget<C: GenericClient>(c: &C, branch: &BranchName, name: &TerminalName) -> Result<bool, DatabaseError> {
    Ok(execute(c, FORGET, &[&branch.as_str(), &name.as_str()]).await? == 1)
}
