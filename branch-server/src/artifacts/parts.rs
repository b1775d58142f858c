//! What the work on artifacts uses.

use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use service_kit::database::{Connection, DatabaseError, Pool, connection};
use service_kit::{Clock, Shutdown};
use swarm::{AccessList, Engine};
use wire::v1::reports::Report;

use super::checks::Checks;
use super::store::Store;
use crate::config::Settings;
use crate::metrics::BranchMetrics;
use crate::reports::relay;
use crate::signals::Signals;
use crate::upstream::head_office::HeadOffice;

/// Everything that the work on artifacts uses. Clones share it.
#[derive(Clone)]
pub struct Parts {
    /// PostgreSQL.
    pub pool: Pool,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// The BitTorrent client.
    pub engine: Arc<dyn Engine>,
    /// The access list of the branch's tracker.
    pub tracker: Arc<AccessList>,
    /// Artifacts on disk.
    pub store: Store,
    /// Head office, for descriptions.
    pub head_office: Arc<dyn HeadOffice>,
    /// The settings.
    pub settings: Arc<Settings>,
    /// This program's metrics.
    pub metrics: BranchMetrics,
    /// Wake-up calls.
    pub signals: Arc<Signals>,
    /// Running checks of complete artifacts.
    pub checks: Arc<Checks>,
    /// When to stop.
    pub shutdown: Shutdown,
}

impl Parts {
    /// Returns a connection to the database.
    ///
    /// # Errors
    /// PostgreSQL gives none.
    pub async fn client(&self) -> Result<Connection, DatabaseError> {
        connection(&self.pool).await
    }

    /// Queues a report for head office in a separate transaction.
    ///
    /// # Errors
    /// A statement failed.
    pub async fn report(&self, report: &Report) -> Result<(), DatabaseError> {
        relay::queue_alone(&self.pool, self.clock.now(), report).await?;
        self.signals.relay.notify_one();
        Ok(())
    }

    /// Returns the time `after` from now.
    pub fn in_the_future(&self, after: std::time::Duration) -> DateTime<Utc> {
        self.clock.now() + TimeDelta::from_std(after).unwrap_or(TimeDelta::hours(1))
    }
}
