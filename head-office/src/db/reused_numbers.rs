//! Table `reused_numbers`: machines that used numbers of reports twice.

use chrono::{DateTime, Utc};
use fleet_types::{BranchName, TerminalName};
use service_kit::database::{DatabaseError, GenericClient, execute, query, query_one};

use super::row::{get, signed, unsigned};

service_kit::statements! {
    REMOVE_OF_TERMINAL = "DELETE FROM reused_numbers WHERE branch = $1 AND terminal = $2";
    // Two large numbers must not overflow.
    RECORD = "INSERT INTO reused_numbers (branch, terminal, times, last_at) VALUES ($1, $2, $3, $4)
        ON CONFLICT (branch, terminal) DO UPDATE
        SET times = least(reused_numbers.times::numeric + $3, 9223372036854775807)::bigint, last_at = $4";
    // A few of each branch: one that invents machines hides none of another. A time in the future is of a clock that was
    // ahead: it would be the newest for years.
    SINCE = "SELECT branch, terminal, times, last_at FROM (SELECT *, row_number() OVER
            (PARTITION BY branch ORDER BY last_at DESC, terminal) AS place FROM reused_numbers
            WHERE last_at > $1 AND last_at <= $2) AS ranked
        WHERE place <= $3 ORDER BY last_at DESC, branch, terminal LIMIT $4";
    COUNT = "SELECT count(*) AS count FROM reused_numbers WHERE last_at > $1 AND last_at <= $2";
}

/// A machine that used numbers twice.
#[derive(Debug, Clone)]
pub struct ReusedRow {
    /// Its name: `branch`, or `branch/terminal`.
    pub machine: String,
    /// How often.
    pub times: u64,
    /// When for the last time.
    pub last_at: DateTime<Utc>,
}

/// Records that a terminal, or the branch server itself, used numbers twice.
///
/// # Errors
/// As every statement.
pub async fn record<C: GenericClient>(
    c: &C,
    branch: &BranchName,
    terminal: Option<&TerminalName>,
    times: u64,
    now: DateTime<Utc>,
) -> Result<(), DatabaseError> {
    let terminal = terminal.map_or("", TerminalName::as_str);
    execute(c, RECORD, &[&branch.as_str(), &terminal, &signed(times), &now]).await.map(drop)
}

/// How many machines are listed: of one branch, and of all.
#[derive(Debug, Clone, Copy)]
pub struct Most {
    /// Of one branch.
    pub of_branch: u64,
    /// Of all.
    pub in_all: u64,
}

/// The machines that used numbers twice after `since` and not after `now`, the last one first.
///
/// # Errors
/// As every statement.
pub async fn since<C: GenericClient>(
    c: &C,
    since: DateTime<Utc>,
    now: DateTime<Utc>,
    most: Most,
) -> Result<Vec<ReusedRow>, DatabaseError> {
    let rows = query(c, SINCE, &[&since, &now, &signed(most.of_branch), &signed(most.in_all)]).await?;
    rows.iter()
        .map(|row| {
            let (branch, terminal): (&str, &str) = (get(row, "branch")?, get(row, "terminal")?);
            let machine = if terminal.is_empty() { branch.to_owned() } else { format!("{branch}/{terminal}") };
            Ok(ReusedRow { machine, times: unsigned(row, "times")?, last_at: get(row, "last_at")? })
        })
        .collect()
}

/// How many machines used numbers twice after `since` and not after `now`.
///
/// # Errors
/// As every statement.
pub async fn count<C: GenericClient>(c: &C, since: DateTime<Utc>, now: DateTime<Utc>) -> Result<u64, DatabaseError> {
    unsigned(&query_one(c, COUNT, &[&since, &now]).await?, "count")
}

/// Forgets that a terminal used numbers twice.
///
/// # Errors
/// As every statement.
pub async fn remove_of_terminal<C: GenericClient>(
    c: &C,
    branch: &BranchName,
    terminal: &TerminalName,
) -> Result<(), DatabaseError> {
    execute(c, REMOVE_OF_TERMINAL, &[&branch.as_str(), &terminal.as_str()]).await.map(drop)
}
