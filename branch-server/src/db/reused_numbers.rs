//! Table `reused_numbers`: machines that used numbers of reports twice.

use chrono::{DateTime, Utc};
use fleet_types::TerminalName;

use super::rows::{get, parsed, signed, unsigned};
use service_kit::database::{DatabaseError, GenericClient, execute, query, query_opt};

service_kit::statements! {
    RECORD = "insert into reused_numbers (terminal, times, last_at, unreported) values ($1, 1, $2, 1)
         on conflict (terminal) do update
         set times = reused_numbers.times + 1, last_at = $2, unreported = reused_numbers.unreported + 1";
    // What is returned is the row as it was before: the count that head office does not know.
    TAKE_UNREPORTED = "update reused_numbers r set unreported = 0, reported_at = $2::timestamptz
         from (select terminal, unreported from reused_numbers where terminal = $1 for update) as before
         where r.terminal = before.terminal and r.unreported > 0
         and (r.reported_at is null or r.reported_at < $2::timestamptz - interval '1 hour' or r.reported_at > $2)
         returning before.unreported";
    DUE = "select terminal from reused_numbers where unreported > 0 and terminal <> ''
         and (reported_at is null or reported_at < $1::timestamptz - interval '1 hour' or reported_at > $1)
         order by terminal limit $2";
    // A time in the future is of a clock that was ahead: it would be the newest for years.
    SINCE = "select terminal, times, last_at from reused_numbers where last_at > $1 and last_at <= $2
         order by last_at desc, terminal limit $3";
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

/// Returns how often a terminal used numbers twice since the last report of it, which is made now.
///
/// None if it is not to be made now: it is made once an hour at most.
pub async fn take_unreported(
    client: &impl GenericClient,
    terminal: &TerminalName,
    now: DateTime<Utc>,
) -> Result<Option<u64>, DatabaseError> {
    let row = query_opt(client, TAKE_UNREPORTED, &[&terminal.as_str(), &now]).await?;
    row.map(|row| unsigned(&row, "unreported")).transpose()
}

/// The terminals of which a report is due, at most `limit`.
pub async fn due(
    client: &impl GenericClient,
    now: DateTime<Utc>,
    limit: u64,
) -> Result<Vec<TerminalName>, DatabaseError> {
    query(client, DUE, &[&now, &signed(limit)]).await?.iter().map(|row| parsed(row, "terminal")).collect()
}

/// The machines that used numbers twice after `since` and not after `now`, the last one first.
pub async fn since(
    client: &impl GenericClient,
    since: DateTime<Utc>,
    now: DateTime<Utc>,
    limit: u64,
) -> Result<Vec<ReusedRow>, DatabaseError> {
    let rows = query(client, SINCE, &[&since, &now, &signed(limit)]).await?;
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
