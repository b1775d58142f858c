//! Updates the metrics and deletes old events.

use chrono::{DateTime, TimeDelta, Utc};
use service_kit::database::{DatabaseError, connection, outbox};

use crate::app::App;
use crate::artifacts::model::Stage;
use crate::db::{artifacts, plan, site, terminals};
use crate::reports::relay;

/// How long events are kept: longer than any terminal is away without asking from the beginning anyway.
const EVENTS_KEPT: TimeDelta = TimeDelta::days(1);

/// When old events were last deleted.
pub type Pruned = Option<DateTime<Utc>>;

/// Does one round.
///
/// # Errors
/// As every statement.
pub async fn once(app: &App, pruned: &mut Pruned) -> Result<(), DatabaseError> {
    let client = connection(&app.pool).await?;
    let now = app.clock.now();
    if pruned.is_none_or(|at| now.signed_duration_since(at).abs() >= TimeDelta::hours(1)) {
        outbox::prune(&client, now - EVENTS_KEPT).await?;
        *pruned = Some(now);
    }
    let (site, records) = (site::read(&client).await?, artifacts::all(&client).await?);
    let metrics = &app.metrics;
    metrics.terminals.set(terminals::count(&client).await?);
    metrics.streams.set(app.streams.count() as u64);
    metrics.plan_serial.set(plan::read(&client).await?.map_or(0, |p| p.serial));
    let expires = app.metadata.believed().trusted.as_ref().map(|t| t.expires().1.timestamp());
    metrics.metadata_expires.set(expires.and_then(|at| u64::try_from(at).ok()).unwrap_or(0));
    metrics.artifacts.set(records.len() as u64);
    metrics.artifacts_held.set(records.iter().filter(|r| r.stage == Stage::Held).count() as u64);
    metrics.artifact_bytes.set(records.iter().map(|r| r.have_bytes).sum());
    metrics.relay_waiting.set(relay::waiting(&client).await?.0);
    let heard = site.last_contact.and_then(|at| u64::try_from(at.timestamp()).ok());
    metrics.head_office_heard.set(heard.unwrap_or(0));
    Ok(())
}
