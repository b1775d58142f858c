//! What the branch's terminals are told.

use chrono::{DateTime, Utc};
use service_kit::database::{DatabaseError, GenericClient, outbox};
use wire::v1::sync::Event;

use crate::app::TERMINALS;

/// Tells every terminal to look again, when the transaction commits.
///
/// # Errors
/// As every statement.
pub async fn call_terminals(tx: &impl GenericClient, now: DateTime<Utc>) -> Result<(), DatabaseError> {
    let body = serde_json::to_value(Event::LookAgain).map_err(|e| DatabaseError::value("events.body", e))?;
    outbox::append(tx, TERMINALS, &body, now).await.map(drop)
}
