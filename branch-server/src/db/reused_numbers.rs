//! Table `reused_numbers`: machines that used numbers of reports twice.

use chrono::{DateTime, Utc};
use fleet_types::TerminalName;

use super::rows::{get, signed, unsigned};
use service_kit::database::{DatabaseError, GenericClient, execute, query, query_opt};

service_kit::statements! {
    RECORD = "insert into reused_numbers (terminal, times, last_at, untold) values ($1, 1, $2, 1)
         on conflict (terminal) do update
         set times = reused_numbers.times + 1, last_at = $2, untold = reused_numbers.untold + 1";
    // What is returned is the row as it was before: the count that head office was not told.
    TELL = "update reused_numbers r set untold = 0, told_at = $2::timestamptz
         from (select terminal, untold from reused_numbers where terminal = $1 for update) as before
         where r.terminal = before.terminal and r.untold > 0
         and (r.told_at is null or r.told_at < $2::timestamptz - interval '1 hour' or r.told_at > $2)
         returning before.untold";
    SINCE = "select terminal, times, last_at from reused_numbers where last_at > $1
         order by last_at desc, terminal limit $2";
}

/// A machine that used numbers twice.
#[derive(Debug, Clone)]
pub struct ReusedRow {
    /// The terminal; none: this server itself.
    pub terminal: Option<String>,
    /// How often.
    pub times: u64,
    /// When for the last time.
    pub last_at: DateTime<Utc>,
}

/// A terminal, or this server itself, used numbers twice.
pub async fn record(
    client: &impl GenericClient,
    terminal: Option<&TerminalName>,
    now: DateTime<Utc>,
) -> Result<(), DatabaseError> {
    execute(client, RECORD, &[&terminal.map_or("", TerminalName::as_str), &now]).await.map(drop)
}

/// Returns how often a terminal used numbers twice since head office was told.
///
/// None if it is not to be told now: it is told once an hour at most.
pub async fn tell(
    client: &impl GenericClient,
    terminal: &TerminalName,
    now: DateTime<Utc>,
) -> Result<Option<u64>, DatabaseError> {
    let row = query_opt(client, TELL, &[&terminal.as_str(), &now]).await?;
    row.map(|row| unsigned(&row, "untold")).transpose()
}

/// The machines that used numbers twice after `since`, the last one first.
pub async fn since(
    client: &impl GenericClient,
    since: DateTime<Utc>,
    limit: u64,
) -> Result<Vec<ReusedRow>, DatabaseError> {
    let rows = query(client, SINCE, &[&since, &signed(limit)]).await?;
    rows.iter()
        .map(|row| {
            let terminal: String = get(row, "terminal")?;
            Ok(ReusedRow {
                terminal: Some(terminal).filter(|name| !name.is_empty()),
                times: unsigned(row, "times")?,
                last_at: get(row, "last_at")?,
            })
        })
        .collect()
}
