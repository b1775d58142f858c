//! Table `reused_numbers`: machines that used numbers of reports twice.

use chrono::{DateTime, Utc};
use fleet_types::{BranchName, TerminalName};
use service_kit::database::{DatabaseError, GenericClient, execute, query};

use super::row::{get, signed, unsigned};

service_kit::statements! {
    REMOVE_OF_TERMINAL = "DELETE FROM reused_numbers WHERE branch = $1 AND terminal = $2";
    // Two large numbers must not overflow.
    RECORD = "INSERT INTO reused_numbers (branch, terminal, times, last_at) VALUES ($1, $2, $3, $4)
        ON CONFLICT (branch, terminal) DO UPDATE
        SET times = least(reused_numbers.times::numeric + $3, 9223372036854775807)::bigint, last_at = $4";
    SINCE = "SELECT branch, terminal, times, last_at FROM reused_numbers WHERE last_at > $1
        ORDER BY last_at DESC, branch, terminal LIMIT $2";
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

/// The machines that used numbers twice after `since`, the last one first.
///
/// # Errors
/// As every statement.
pub async fn since<C: GenericClient>(c: &C, since: DateTime<Utc>, limit: u64) -> Result<Vec<ReusedRow>, DatabaseError> {
    let rows = query(c, SINCE, &[&since, &signed(limit)]).await?;
    rows.iter()
        .map(|row| {
            let (branch, terminal): (&str, &str) = (get(row, "branch")?, get(row, "terminal")?);
            let machine = if terminal.is_empty() { branch.to_owned() } else { format!("{branch}/{terminal}") };
            Ok(ReusedRow { machine, times: unsigned(row, "times")?, last_at: get(row, "last_at")? })
        })
        .collect()
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
