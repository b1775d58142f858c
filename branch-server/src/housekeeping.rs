//! Updates the metrics, deletes old events, and reports what was only counted for a while.

use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use service_kit::Clock;
use service_kit::database::{DatabaseError, Pool, connection, outbox};

use crate::artifacts::model::Stage;
use crate::db::{artifacts, plan, site, terminals};
use crate::metrics::BranchMetrics;
use crate::plan::metadata::Metadata;
use crate::reports::{relay, reused};
use crate::terminals::streams::Streams;

/// How long events are kept: longer than any terminal is away without asking from the beginning anyway.
const EVENTS_KEPT: TimeDelta = TimeDelta::days(1);

/// The task `housekeeping`.
pub struct Housekeeping {
    pool: Pool,
    clock: Arc<dyn Clock>,
    metrics: BranchMetrics,
    metadata: Arc<Metadata>,
    streams: Arc<Streams>,
    /// When old events were last deleted.
    pruned: Option<DateTime<Utc>>,
}

impl Housekeeping {
    /// Makes the task.
    pub fn new(
        pool: Pool,
        clock: Arc<dyn Clock>,
        metrics: BranchMetrics,
        metadata: Arc<Metadata>,
        streams: Arc<Streams>,
    ) -> Self {
        Self { pool, clock, metrics, metadata, streams, pruned: None }
    }

    /// Does one round.
    ///
    /// # Errors
    /// As every statement.
    pub async fn once(&mut self) -> Result<(), DatabaseError> {
        let client = connection(&self.pool).await?;
        let now = self.clock.now();
        if self.pruned.is_none_or(|at| now.signed_duration_since(at).abs() >= TimeDelta::hours(1)) {
            outbox::prune(&client, now - EVENTS_KEPT).await?;
            self.pruned = Some(now);
        }
        drop(client);
        reused::report_due(&self.pool, now).await?;
        let client = connection(&self.pool).await?;
        let (site, records) = (site::read(&client).await?, artifacts::all(&client).await?);
        let metrics = &self.metrics;
        metrics.terminals.set(terminals::count(&client).await?);
        metrics.streams.set(self.streams.count() as u64);
        metrics.plan_serial.set(plan::read(&client).await?.map_or(0, |p| p.serial));
        let expires = self.metadata.believed().trusted.as_ref().map(|t| t.expires().1.timestamp());
        metrics.metadata_expires.set(expires.and_then(|at| u64::try_from(at).ok()).unwrap_or(0));
        metrics.artifacts.set(records.len() as u64);
        metrics.artifacts_held.set(records.iter().filter(|r| r.stage == Stage::Held).count() as u64);
        metrics.artifact_bytes.set(records.iter().map(|r| r.have_bytes).sum());
        metrics.relay_waiting.set(relay::waiting(&client).await?.0);
        let heard = site.last_contact.and_then(|at| u64::try_from(at.timestamp()).ok());
        metrics.head_office_heard.set(heard.unwrap_or(0));
        Ok(())
    }
}
