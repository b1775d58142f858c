//! Numbers of reports that a terminal used twice: counted here, and reported to head office once an hour at most.

use chrono::{DateTime, Utc};
use fleet_types::TerminalName;
use service_kit::database::{DatabaseError, GenericClient, Pool, begin, commit, connection};
use wire::v1::reports::Report;

use super::relay;
use crate::db::{reused_numbers, site};

/// Terminals whose count is reported in one round.
const AT_ONCE: u64 = 100;

/// Counts that `terminal` used numbers twice; true if head office is told of it now. `tx` must hold the site's row.
///
/// # Errors
/// As every statement.
pub async fn count(
    tx: &impl GenericClient,
    terminal: &TerminalName,
    now: DateTime<Utc>,
) -> Result<bool, DatabaseError> {
    reused_numbers::record(tx, Some(terminal), now).await?;
    report(tx, terminal, now).await
}

/// Reports what was counted since the last report, of every terminal whose hour is over.
///
/// # Errors
/// As every statement.
pub async fn report_due(pool: &Pool, now: DateTime<Utc>) -> Result<(), DatabaseError> {
    let mut client = connection(pool).await?;
    let due = reused_numbers::due(&client, now, AT_ONCE).await?;
    if due.is_empty() {
        return Ok(());
    }
    let tx = begin(&mut client).await?;
    site::lock(&tx).await?;
    for terminal in &due {
        report(&tx, terminal, now).await?;
    }
    commit(tx).await
}

async fn report(tx: &impl GenericClient, terminal: &TerminalName, now: DateTime<Utc>) -> Result<bool, DatabaseError> {
    let Some(times) = reused_numbers::take_unreported(tx, terminal, now).await? else { return Ok(false) };
    let report = Report::NumbersReused { terminal: Some(terminal.clone()), times };
    relay::queue(tx, now, &report).await?;
    Ok(true)
}
