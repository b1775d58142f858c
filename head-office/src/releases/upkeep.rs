//! Removes what is no longer needed: old events and jobs, expired uploads, leftover archives.

use chrono::{DateTime, TimeDelta, Utc};
use service_kit::database::{DatabaseError, begin, commit, connection, jobs, outbox};
use uuid::Uuid;

use super::moves::{MoveError, upload_complete};
use super::{ending, uploads};
use crate::app::App;
use crate::db;
use crate::db::releases::UploadRow;

/// Rows that are looked at with one statement.
const BATCH: i64 = 1000;
/// How long events can be replayed.
const EVENTS_KEPT: TimeDelta = TimeDelta::days(7);
/// How long finished jobs can be looked at.
const JOBS_KEPT: TimeDelta = TimeDelta::days(30);

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
        db::releases::uploading(&client, now - app.settings.uploads.abandon_after, BATCH).await?
    };
    for upload in &arriving {
        let held = uploads::durable_length(app.store.upload(upload.id)).await;
        if held.is_ok_and(|length| length == upload.archive_bytes) {
            go_on(app, upload.id, now).await?;
        } else if upload.abandoned {
            give_up(app, upload, now).await?;
        }
    }
    remove_archives_of_ended(app).await?;
    Ok(())
}

/// Removes archives that no release knows.
///
/// An upload is created file first, and the process ended in between. Only at start, before requests can create one.
///
/// # Errors
/// The database failed.
pub async fn remove_unknown_archives(app: &App) -> Result<(), DatabaseError> {
    for ids in archives(app).await.chunks(BATCH as usize) {
        let known = {
            let client = connection(&app.pool).await?;
            db::releases::known(&client, ids).await?
        };
        for id in ids.iter().filter(|id| !known.contains(id)) {
            uploads::remove(&app.store.upload(*id)).await;
        }
    }
    Ok(())
}

/// An upload whose last byte arrived before a crash goes on.
async fn go_on(app: &App, id: Uuid, now: DateTime<Utc>) -> Result<(), MoveError> {
    let mut client = connection(&app.pool).await?;
    let transaction = begin(&mut client).await?;
    upload_complete(&transaction, id, now).await?;
    Ok(commit(transaction).await?)
}

/// Ends an upload that was idle for too long.
async fn give_up(app: &App, release: &UploadRow, now: DateTime<Utc>) -> Result<(), MoveError> {
    // A request that uses it holds the claim; while we hold it, none does or begins to.
    let Some(claim) = app.claims.claim_if_free(release.id).await else { return Ok(()) };
    let expires = {
        let client = connection(&app.pool).await?;
        ending::expires(app, &client, release.id).await?
    };
    if expires <= now {
        ending::end(app, claim, release.id, ending::expired(), None).await?;
    }
    Ok(())
}

/// What a crash between a release's end and the removal of its archive left.
async fn remove_archives_of_ended(app: &App) -> Result<(), DatabaseError> {
    for ids in archives(app).await.chunks(BATCH as usize) {
        let ended = {
            let client = connection(&app.pool).await?;
            db::releases::ended(&client, ids).await?
        };
        for id in ended {
            uploads::remove(&app.store.upload(id)).await;
        }
    }
    Ok(())
}

/// The releases whose archives lie in the store.
async fn archives(app: &App) -> Vec<Uuid> {
    let mut found = Vec::new();
    let Ok(mut files) = tokio::fs::read_dir(app.store.uploads()).await else { return found };
    while let Ok(Some(file)) = files.next_entry().await {
        let path = file.path();
        found.extend(path.file_stem().and_then(|s| s.to_str()).and_then(|s| s.parse::<Uuid>().ok()));
    }
    found
}
