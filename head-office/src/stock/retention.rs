//! Puts away artifacts that only withdrawn releases have, once no plan has named them for long enough.
//!
//! In this order a crash between any two steps leaves nothing seeded that the tracker refuses, and no file that is
//! still needed is gone: decided (stored) → dropped by the daemon (stored) → off the tracker's list → file removed → row
//! removed. The next pass goes on from there. Whatever is in use ([`crate::store::holds`]) waits for the next pass.

use std::io;
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use service_kit::Clock;
use service_kit::age::{SET_BACK, older_than};
use service_kit::database::{DatabaseError, Pool, begin, commit, connection};
use service_kit::steady::SteadyTime;
use swarm::{Engine, EngineError};
use tokio::sync::{Mutex, Notify};
use wire::v1::plan::ArtifactRef;

use crate::db;
use crate::seeding::tracker::{Tracker, TrackerError};
use crate::store::folders::Store;

/// Most artifacts that are put away in one pass; the next takes the rest.
const BATCH: i64 = 1000;

/// Why something could not be put away now. It is tried again.
#[derive(Debug, thiserror::Error)]
pub enum RetentionError {
    /// The database failed.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// The daemon did not drop it.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The tracker was not told.
    #[error(transparent)]
    Tracker(#[from] TrackerError),
    /// Its file stays.
    #[error("the file of artifact {0} cannot be removed")]
    File(fleet_types::Digest, #[source] io::Error),
}

/// Puts artifacts away.
pub struct Retention {
    /// The database.
    pub pool: Pool,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// The folders.
    pub store: Store,
    /// The BitTorrent daemon.
    pub engine: Arc<dyn Engine>,
    /// The tracker.
    pub tracker: Arc<Tracker>,
    /// Wakes the watch over the metadata.
    pub watch: Arc<Notify>,
    /// How long artifacts are kept after the last plan that named them.
    pub seed_for: TimeDelta,
    /// Whether the clock jumped: nothing is put away by an age that did not pass.
    pub steady: Mutex<SteadyTime>,
}

impl Retention {
    /// Puts away what is due now.
    ///
    /// # Errors
    /// As [`RetentionError`]; what was begun is finished by the next call.
    pub async fn once(&self) -> Result<(), RetentionError> {
        let now = self.clock.now();
        let steady = self.steady.lock().await.look(&*self.clock);
        let unnamed_since = older_than(self.seed_for, steady, now);
        self.put_away(&self.due(unnamed_since).await?).await
    }

    /// Returns the artifacts that are due to be removed.
    ///
    /// Only withdrawn releases have them, and no plan named them after `unnamed_since`; without a time, those that no
    /// plan ever named. Those whose removal began come first, then the least recently wanted.
    ///
    /// # Errors
    /// The database failed.
    pub async fn due(&self, unnamed_since: Option<DateTime<Utc>>) -> Result<Vec<ArtifactRef>, DatabaseError> {
        let client = connection(&self.pool).await?;
        // Named in a future that a correction of the clock explains: that time comes, and the artifact's age is counted from it.
        db::artifacts::due(&client, unnamed_since, self.clock.now() + SET_BACK, BATCH).await
    }

    /// Removes artifacts from daemon, tracker, disk and database.
    ///
    /// Artifacts that are in use or needed again are skipped.
    ///
    /// # Errors
    /// As [`RetentionError`]; what was begun is finished by the next pass.
    pub async fn put_away(&self, artifacts: &[ArtifactRef]) -> Result<(), RetentionError> {
        let mut dropped = Vec::new();
        for artifact in artifacts {
            let Some(eviction) = self.store.holds().evict(&artifact.sha256) else { continue };
            let leaves = {
                let client = connection(&self.pool).await?;
                db::artifacts::leave(&client, &artifact.sha256).await?
            };
            if !leaves {
                continue;
            }
            self.engine.remove(&artifact.info_hash, false).await?;
            let client = connection(&self.pool).await?;
            db::artifacts::set_dropped(&client, &artifact.sha256).await?;
            dropped.push((artifact, eviction));
        }
        if dropped.is_empty() {
            return Ok(());
        }
        self.watch.notify_one();
        self.tracker.list_all(&self.pool).await?;
        for (artifact, _eviction) in &dropped {
            match tokio::fs::remove_file(self.store.artifact(artifact)).await {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(RetentionError::File(artifact.sha256, error));
                }
                _ => {}
            }
            let mut client = connection(&self.pool).await?;
            let transaction = begin(&mut client).await?;
            db::artifacts::forget(&transaction, &artifact.sha256).await?;
            commit(transaction).await?;
            tracing::info!(artifact = %artifact.sha256, bytes = artifact.length, "artifact put away");
        }
        Ok(())
    }
}
