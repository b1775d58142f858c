//! Puts away what nobody needs: old events and jobs, uploads that were given up, archives that are left over.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use fleet_types::ReleaseState;
use service_kit::Shutdown;
use service_kit::database::{DatabaseError, begin, commit, connection, jobs, outbox};
use uuid::Uuid;

use super::sentence;
use super::validate::remove_archive;
use crate::app::App;
use crate::db;
use crate::db::releases::ReleaseRow;
use crate::releases::{MoveError, advance, upload_complete, uploads};

const EVERY: Duration = Duration::from_secs(600);
/// How long events can be replayed.
const EVENTS_KEPT: TimeDelta = TimeDelta::days(7);
/// How long finished jobs can be looked at.
const JOBS_KEPT: TimeDelta = TimeDelta::days(30);

/// Keeps house, at start and then every ten minutes, until shutdown.
pub async fn keep_house(app: Arc<App>, shutdown: Shutdown) {
    while !shutdown.is_stopping() {
        if let Err(error) = once(&app).await {
            tracing::warn!(error = %sentence(&error), "housekeeping failed; it is repeated");
        }
        shutdown.wait(EVERY).await;
    }
}

/// Keeps house once.
///
/// # Errors
/// The database failed.
pub async fn once(app: &App) -> Result<(), MoveError> {
    let now = app.clock.now();
    let arriving = {
        let client = connection(&app.pool).await?;
        outbox::prune(&client, now - EVENTS_KEPT).await?;
        jobs::prune(&client, now - JOBS_KEPT).await?;
        db::releases::in_state(&client, ReleaseState::Uploading).await?
    };
    for release in &arriving {
        settle_upload(app, release, now).await?;
    }
    remove_leftovers(app).await?;
    Ok(())
}

/// An upload whose last byte arrived before a crash goes on; one to which nothing comes any more is given up.
async fn settle_upload(app: &App, release: &ReleaseRow, now: DateTime<Utc>) -> Result<(), MoveError> {
    let path = app.store.upload(release.id);
    let complete = uploads::durable_length(path.clone()).await.is_ok_and(|l| l == release.archive_bytes);
    let touched = tokio::fs::metadata(&path).await.ok().and_then(|m| m.modified().ok()).map(DateTime::<Utc>::from);
    let abandoned = touched.unwrap_or(release.created) + app.settings.uploads.abandon_after < now;
    if !complete && !abandoned {
        return Ok(());
    }
    let mut client = connection(&app.pool).await?;
    let transaction = begin(&mut client).await?;
    if complete {
        upload_complete(&transaction, release.id, now).await?;
    } else if let Some(row) = db::releases::lock(&transaction, release.id).await? {
        let reason = "The upload was given up: nothing came for too long. Upload the archive again.";
        advance(&transaction, &row, ReleaseState::Withdrawn, Some(reason), now).await?;
    }
    commit(transaction).await?;
    if !complete {
        remove_archive(app, release.id).await;
    }
    Ok(())
}

async fn remove_leftovers(app: &App) -> Result<(), DatabaseError> {
    let mut needed = HashSet::new();
    {
        let client = connection(&app.pool).await?;
        for state in ReleaseState::ALL {
            if needs_archive(*state) {
                needed.extend(db::releases::in_state(&client, *state).await?.into_iter().map(|r| r.id));
            }
        }
    }
    let Ok(mut files) = tokio::fs::read_dir(app.store.uploads()).await else { return Ok(()) };
    while let Ok(Some(file)) = files.next_entry().await {
        let id = file.path().file_stem().and_then(|s| s.to_str()).and_then(|s| s.parse::<Uuid>().ok());
        // An upload is created file first: leave a young file without a row alone.
        let old = file.metadata().await.ok().and_then(|m| m.modified().ok()).map(DateTime::<Utc>::from);
        let old = old.is_some_and(|t| t + TimeDelta::hours(1) < app.clock.now());
        if let Some(id) = id.filter(|id| old && !needed.contains(id)) {
            remove_archive(app, id).await;
        }
    }
    Ok(())
}

const fn needs_archive(state: ReleaseState) -> bool {
    match state {
        ReleaseState::Uploading
        | ReleaseState::Validating
        | ReleaseState::AwaitingSignature
        | ReleaseState::Approved
        | ReleaseState::Publishing => true,
        ReleaseState::Rejected | ReleaseState::Published | ReleaseState::Withdrawn => false,
    }
}
