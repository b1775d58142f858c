//! The last word on a complete artifact: its whole file is hashed and compared with the plan's digest, beside the
//! passes, so that a large one holds up nothing else.
//!
//! A torrent's own piece hashes are SHA-1 and came with the torrent; only this digest is what the plan names.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::TimeDelta;
use fleet_types::Digest;
use service_kit::database::connection;
use service_kit::edge::chain;
use service_kit::retry::bound_after;
use wire::v1::reports::Report;

use super::failure::ActionError;
use crate::app::App;
use crate::db::{self, artifacts};
use crate::error::presentable;
use crate::relay;
use crate::store::StoreError;

/// How long the engine gets to begin its own verification before it is asked about it again.
const VERIFY_BEGINS: Duration = Duration::from_secs(5);

/// The longest rest after a mismatch.
const LONGEST_REST: Duration = Duration::from_secs(3600);

/// The checks that are running.
#[derive(Debug, Default)]
pub struct Checks(Mutex<BTreeSet<Digest>>);

impl Checks {
    /// Whether the file is being read.
    pub fn is_running(&self, artifact: &Digest) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains(artifact)
    }

    fn begin(&self, artifact: Digest) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(artifact)
    }

    fn end(&self, artifact: &Digest) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(artifact);
    }
}

/// Begins the check of a complete artifact, unless it is running.
pub fn start(app: &Arc<App>, record: &artifacts::Record) {
    let artifact = record.wanted.artifact.sha256;
    if !app.checks.begin(artifact) {
        return;
    }
    let (app, record) = (app.clone(), record.clone());
    tokio::spawn(async move {
        if let Err(error) = check(&app, &record).await {
            tracing::warn!(artifact = %artifact.short(), error = %chain(&error), "the check could not be concluded");
        }
        app.checks.end(&artifact);
        app.signals.pass.notify_one();
    });
}

async fn check(app: &App, record: &artifacts::Record) -> Result<(), ActionError> {
    let artifact = record.wanted.artifact.sha256;
    let (store, shutdown) = (app.store.clone(), app.shutdown.clone());
    let hashed = tokio::task::spawn_blocking(move || store.hash(&artifact, &|| shutdown.is_stopping())).await;
    match hashed.map_err(ActionError::Task)? {
        Ok(found) if found == artifact => hold(app, record).await,
        Ok(found) => mismatch(app, record, found).await,
        Err(StoreError::Interrupted) => Ok(()),
        Err(error) => {
            let rest = bound_after(4, app.settings.sync.retry, app.settings.sync.retry_max);
            trouble(app, record, record.wanted.artifact.length, &chain(&error), rest).await
        }
    }
}

/// It is what the plan says.
async fn hold(app: &App, record: &artifacts::Record) -> Result<(), ActionError> {
    let artifact = &record.wanted.artifact;
    let mut client = connection(&app.pool).await?;
    let tx = db::begin(&mut client).await?;
    if artifacts::hold(&tx, &artifact.sha256).await? {
        let report =
            Report::Artifact { artifact: artifact.sha256, have_bytes: artifact.length, complete: true, trouble: None };
        relay::queue(&tx, app.clock.now(), &report).await?;
        tracing::info!(artifact = %artifact.sha256.short(), bytes = artifact.length, "held");
    }
    db::commit(tx).await?;
    app.signals.relay.notify_one();
    Ok(())
}

/// It is not what the plan says, although every piece is what the torrent says. The first time the engine verifies
/// it again (a page may have been damaged after its check); the second time it is dropped and fetched again.
async fn mismatch(app: &App, record: &artifacts::Record, found: Digest) -> Result<(), ActionError> {
    let artifact = &record.wanted.artifact;
    app.metrics.mismatches.inc();
    let times = artifacts::count_mismatch(&connection(&app.pool).await?, &artifact.sha256).await?;
    let what = format!("The complete file hashes to {}, the plan names {}", found.short(), artifact.sha256.short());
    tracing::error!(artifact = %artifact.sha256.short(), times, "{what}");
    if times % 2 == 1 {
        app.engine.verify(&artifact.info_hash).await?;
        let text = format!("{what}: it is being verified piece by piece.");
        return trouble(app, record, artifact.length, &text, VERIFY_BEGINS).await;
    }
    let rest = bound_after(times / 2, app.settings.sync.retry * 15, LONGEST_REST);
    let text = format!(
        "{what}, also after verifying it: it was dropped and is fetched again in {} s. If this repeats, publish the \
         release again.",
        rest.as_secs()
    );
    app.engine.remove(&artifact.info_hash, true).await?;
    let (store, digest) = (app.store.clone(), artifact.sha256);
    tokio::task::spawn_blocking(move || store.evict(&digest)).await.map_err(ActionError::Task)??;
    trouble(app, record, 0, &text, rest).await?;
    let until = app.clock.now() + TimeDelta::from_std(rest).unwrap_or(TimeDelta::hours(1));
    Ok(artifacts::reset(&connection(&app.pool).await?, &artifact.sha256, until).await?)
}

/// Records and reports what is in the way, and lets the artifact rest.
async fn trouble(
    app: &App,
    record: &artifacts::Record,
    have_bytes: u64,
    text: &str,
    rest: Duration,
) -> Result<(), ActionError> {
    let artifact = record.wanted.artifact.sha256;
    let (now, text) = (app.clock.now(), presentable(text));
    let mut client = connection(&app.pool).await?;
    let tx = db::begin(&mut client).await?;
    artifacts::set_progress(&tx, &artifact, have_bytes, Some(&text)).await?;
    artifacts::rest(&tx, &artifact, now + TimeDelta::from_std(rest).unwrap_or(TimeDelta::hours(1))).await?;
    let report = Report::Artifact { artifact, have_bytes, complete: false, trouble: Some(text) };
    relay::queue(&tx, now, &report).await?;
    db::commit(tx).await?;
    app.signals.relay.notify_one();
    Ok(())
}
