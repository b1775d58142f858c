//! Calls to the branch's terminals.

use chrono::{DateTime, Utc};
use service_kit::database::{DatabaseError, GenericClient, outbox};
use wire::v1::sync::Event;

/// The audience of events for terminals.
pub const TERMINALS: &str = "terminals";

/// Calls every terminal to look again once the transaction commits.
///
/// # Errors
/// As every statement.
pub async fn call_terminals(tx: &impl GenericClient, now: DateTime<Utc>) -> Result<(), DatabaseError> {
    let body = serde_json::to_value(Event::LookAgain).map_err(|e| DatabaseError::unwritable("events.body", e))?;
    outbox::append(tx, TERMINALS, &body, now).await.map(drop)
}
