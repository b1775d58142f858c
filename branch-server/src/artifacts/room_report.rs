//! Reports the room in the store to head office: at start, after notable changes at a bounded rate, and at once when room
//! comes back.

use chrono::{DateTime, TimeDelta, Utc};
use service_kit::database::DatabaseError;

use super::look::{Records, disk};
use super::parts::Parts;
use super::room::StoreRoom;
use crate::db::artifacts;

/// The shortest time between two reports, except for room that came back.
const INTERVAL: TimeDelta = TimeDelta::minutes(1);

/// The last report, and when it was made.
pub type Reported = Option<(DateTime<Utc>, StoreRoom)>;

/// Looks at the room, and reports it if that is due.
///
/// # Errors
/// A statement failed.
pub async fn once(parts: &Parts, reported: &mut Reported) -> Result<(), DatabaseError> {
    let all = artifacts::all(&parts.client().await?).await?;
    let records: Records = all.into_iter().map(|r| (r.wanted.artifact.sha256, r)).collect();
    let disk = disk(parts, &records).await;
    let Some(room) = StoreRoom::of(records.values(), &disk) else { return Ok(()) };
    let now = parts.clock.now();
    if !room.is_due(now, *reported, INTERVAL) {
        return Ok(());
    }
    parts.report(&room.report()).await?;
    *reported = Some((now, room));
    Ok(())
}
