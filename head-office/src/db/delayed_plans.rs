//! Table `delayed_plans`: branches whose plan follows their reports later.

use chrono::{DateTime, Utc};
use fleet_types::BranchName;
use service_kit::database::{DatabaseError, GenericClient, execute, query, query_one};

use super::row::{get, text};

service_kit::statements! {
    // The earlier of two; also after a clock that was ahead wrote the first.
    DELAY = "INSERT INTO delayed_plans (branch, due_at) VALUES ($1, $2)
        ON CONFLICT (branch) DO UPDATE SET due_at = least(delayed_plans.due_at, $2)";
    // No delay is longer than an hour: what is due later was written while the clock was ahead.
    DUE = "SELECT branch FROM delayed_plans WHERE due_at <= $1 OR due_at > $1 + interval '1 hour' ORDER BY due_at, branch LIMIT $2";
    FIRST = "SELECT min(due_at) AS due_at FROM delayed_plans";
    DONE = "DELETE FROM delayed_plans WHERE branch = ANY($1)";
}

/// Has a branch's plan brought up to date at `due`.
///
/// # Errors
/// As every statement.
pub async fn delay<C: GenericClient>(c: &C, branch: &BranchName, due: DateTime<Utc>) -> Result<(), DatabaseError> {
    execute(c, DELAY, &[&branch.as_str(), &due]).await.map(drop)
}

/// Returns the branches that are due, the longest due first, at most `limit`.
///
/// # Errors
/// As every statement.
pub async fn due<C: GenericClient>(c: &C, now: DateTime<Utc>, limit: i64) -> Result<Vec<BranchName>, DatabaseError> {
    query(c, DUE, &[&now, &limit]).await?.iter().map(|row| text(row, "branch")).collect()
}

/// Returns when the first is due.
///
/// # Errors
/// As every statement.
pub async fn first<C: GenericClient>(c: &C) -> Result<Option<DateTime<Utc>>, DatabaseError> {
    get(&query_one(c, FIRST, &[]).await?, "due_at")
}

/// Forgets branches whose plans are up to date.
///
/// # Errors
/// As every statement.
pub async fn done<C: GenericClient>(c: &C, branches: &[&str]) -> Result<(), DatabaseError> {
    execute(c, DONE, &[&branches]).await.map(drop)
}
