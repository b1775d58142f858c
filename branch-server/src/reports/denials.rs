//! Reports to head office which terminals are denied here: all of them at each start, as head office may have lost its database.

use service_kit::database::{DatabaseError, Pool, begin, commit, connection};
use wire::v1::reports::Report;

use super::relay;
use crate::db::{site, terminals};

/// Queues a report of each denied terminal; how many there are.
///
/// # Errors
/// As every statement.
pub async fn report_all(pool: &Pool) -> Result<usize, DatabaseError> {
    let mut client = connection(pool).await?;
    let tx = begin(&mut client).await?;
    site::lock(&tx).await?;
    let denied = terminals::denied(&tx).await?;
    for (terminal, at) in &denied {
        let report = Report::TerminalDenied { terminal: terminal.clone(), denied: true };
        relay::queue(&tx, *at, &report).await?;
    }
    commit(tx).await?;
    Ok(denied.len())
}
