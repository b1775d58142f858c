//! Tells head office what room there is in the store: at start, and after changes of note, at a bounded rate; room that came
//! back at once.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use service_kit::database::{DatabaseError, connection};
use service_kit::edge::chain;

use crate::app::App;
use crate::db::{self, artifacts};
use crate::relay;
use crate::sync::room::StoreRoom;

/// How often the disk is looked at.
const INTERVAL: Duration = Duration::from_secs(10);

/// The shortest time between two reports, but for room that came back.
const REST: TimeDelta = TimeDelta::minutes(1);

/// What was told last, and when.
pub type Told = Option<(DateTime<Utc>, StoreRoom)>;

/// Looks and tells until the program stops.
pub async fn run(app: Arc<App>) {
    let mut told = None;
    loop {
        if let Err(error) = once(&app, &mut told).await {
            tracing::debug!(error = %chain(&error), "the room in the store is told later");
        }
        if !super::rest(&app, None, INTERVAL).await {
            return;
        }
    }
}

/// Looks once, and tells if there is something to tell.
///
/// # Errors
/// As every statement.
pub async fn once(app: &App, told: &mut Told) -> Result<(), DatabaseError> {
    let mut client = connection(&app.pool).await?;
    let records = artifacts::all(&client).await?;
    let known: std::collections::BTreeSet<_> = records.iter().map(|r| r.wanted.artifact.sha256).collect();
    let store = app.store.clone();
    let disk = tokio::task::spawn_blocking(move || store.disk(|artifact| known.contains(artifact))).await;
    let disk = disk.unwrap_or_default();
    let Some(room) = StoreRoom::of(&records, &disk) else { return Ok(()) };
    let now = app.clock.now();
    let is_due = |(at, last): &(DateTime<Utc>, StoreRoom)| {
        // Releases are judged by it: room that came back is not kept from them for a minute.
        room.has_come_back(last) || now.signed_duration_since(*at).abs() >= REST && room.differs(last)
    };
    if told.as_ref().is_some_and(|told| !is_due(told)) {
        return Ok(());
    }
    let tx = db::begin(&mut client).await?;
    relay::queue(&tx, now, &room.report()).await?;
    db::commit(tx).await?;
    *told = Some((now, room));
    app.signals.relay.notify_one();
    Ok(())
}
