//! Hashes complete artifacts beside the passes, so that a large one delays no other, and does what the verdict says.
//!
//! A torrent's own piece hashes are SHA-1 and came with the torrent; only this digest is what the plan names.

use std::time::Duration;

use fleet_types::Digest;
use service_kit::database::{begin, commit};
use service_kit::edge::chain;
use service_kit::retry::bound_after;
use tokio::task::spawn_blocking;
use wire::v1::reports::Report;

use super::failure::ActionError;
use super::parts::Parts;
use super::store::StoreError;
use super::trouble::Trouble;
use super::watch::{Verdict, after_hash};
use crate::db::artifacts;
use crate::reports::relay;
use crate::text::presentable;

/// Starts the check of a complete artifact, unless one is running.
pub fn start(parts: &Parts, record: &artifacts::Record) {
    let artifact = record.wanted.artifact.sha256;
    if !parts.checks.begin(artifact) {
        return;
    }
    let (parts, record) = (parts.clone(), record.clone());
    tokio::spawn(async move {
        if let Err(error) = check(&parts, &record).await {
            tracing::warn!(artifact = %artifact.short(), error = %chain(&error), "the check did not finish");
        }
        parts.checks.end(&artifact);
        parts.signals.pass.notify_one();
    });
}

async fn check(parts: &Parts, record: &artifacts::Record) -> Result<(), ActionError> {
    let artifact = record.wanted.artifact.sha256;
    let (store, shutdown) = (parts.store.clone(), parts.shutdown.clone());
    let hashed = spawn_blocking(move || store.hash(&artifact, &|| shutdown.is_stopping())).await;
    let found = match hashed.map_err(ActionError::Task)? {
        Ok(found) => found,
        Err(StoreError::Interrupted) => return Ok(()),
        Err(error) => {
            let backoff = bound_after(4, parts.settings.sync.retry, parts.settings.sync.retry_max);
            let trouble = Trouble::Failed { error: presentable(&chain(&error)) };
            return note(parts, record, record.wanted.artifact.length, &trouble, backoff).await;
        }
    };
    let times = match found == artifact {
        true => 0,
        false => artifacts::count_mismatch(&parts.client().await?, &artifact).await?,
    };
    conclude(parts, record, after_hash(artifact, found, times, parts.settings.sync.retry)).await
}

/// Does what the verdict says.
async fn conclude(parts: &Parts, record: &artifacts::Record, verdict: Verdict) -> Result<(), ActionError> {
    let artifact = &record.wanted.artifact;
    if let Verdict::VerifyAgain { trouble, .. } | Verdict::FetchAgain { trouble, .. } = &verdict {
        parts.metrics.mismatches.inc();
        tracing::error!(artifact = %artifact.sha256.short(), "{trouble}");
    }
    match verdict {
        Verdict::Hold => hold(parts, record).await,
        Verdict::VerifyAgain { trouble, backoff } => {
            parts.engine.verify(&artifact.info_hash).await?;
            note(parts, record, artifact.length, &trouble, backoff).await
        }
        Verdict::FetchAgain { trouble, backoff } => {
            parts.engine.remove(&artifact.info_hash, true).await?;
            let (store, digest) = (parts.store.clone(), artifact.sha256);
            spawn_blocking(move || store.evict(&digest)).await.map_err(ActionError::Task)??;
            note(parts, record, 0, &trouble, backoff).await?;
            let until = parts.in_the_future(backoff);
            Ok(artifacts::reset(&parts.client().await?, &artifact.sha256, until).await?)
        }
    }
}

/// Records and reports that an artifact is complete and what the plan names.
async fn hold(parts: &Parts, record: &artifacts::Record) -> Result<(), ActionError> {
    let artifact = &record.wanted.artifact;
    let mut client = parts.client().await?;
    let tx = begin(&mut client).await?;
    if artifacts::hold(&tx, &artifact.sha256).await? {
        let report =
            Report::Artifact { artifact: artifact.sha256, have_bytes: artifact.length, complete: true, trouble: None };
        relay::queue(&tx, parts.clock.now(), &report).await?;
        tracing::info!(artifact = %artifact.sha256.short(), bytes = artifact.length, "held");
    }
    commit(tx).await?;
    parts.signals.relay.notify_one();
    Ok(())
}

/// Records and reports trouble, and puts the artifact into backoff.
async fn note(
    parts: &Parts,
    record: &artifacts::Record,
    have_bytes: u64,
    trouble: &Trouble,
    backoff: Duration,
) -> Result<(), ActionError> {
    let artifact: Digest = record.wanted.artifact.sha256;
    let (now, trouble) = (parts.clock.now(), trouble.reason());
    let mut client = parts.client().await?;
    let tx = begin(&mut client).await?;
    artifacts::set_progress(&tx, &artifact, have_bytes, Some(&trouble)).await?;
    artifacts::back_off(&tx, &artifact, parts.in_the_future(backoff)).await?;
    let report = Report::Artifact { artifact, have_bytes, complete: false, trouble: Some(trouble) };
    relay::queue(&tx, now, &report).await?;
    commit(tx).await?;
    parts.signals.relay.notify_one();
    Ok(())
}
