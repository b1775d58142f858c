//! Reports to head office how far this branch's audit reaches: at each start, and whenever it changed.

use access::db::audit;
use chrono::{DateTime, Utc};
use service_kit::database::{DatabaseError, Pool, begin, commit, connection};
use wire::v1::audit::Head;
use wire::v1::reports::Report;

use super::relay;

/// Queues a report if the audit reaches elsewhere than what was `reported` last; true if it did.
///
/// # Errors
/// As every statement.
pub async fn once(pool: &Pool, now: DateTime<Utc>, reported: &mut Option<Head>) -> Result<bool, DatabaseError> {
    let mut client = connection(pool).await?;
    let tx = begin(&mut client).await?;
    let head = audit::head(&tx).await?;
    if *reported == Some(head) {
        return Ok(false);
    }
    relay::queue(&tx, now, &Report::AuditHead { head }).await?;
    commit(tx).await?;
    *reported = Some(head);
    Ok(true)
}
