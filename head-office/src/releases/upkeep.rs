//! Removes what is no longer needed: old events and jobs, expired uploads, leftover archives.

use chrono::{DateTime, TimeDelta, Utc};
use service_kit::database::{DatabaseError, Pool, begin, commit, connection, jobs, outbox};
use uuid::Uuid;

use super::arriving::{Uploads, expired};
use super::moves::{MoveError, upload_complete};
use super::uploads::{durable_length, remove};
use crate::db;
use crate::db::releases::UploadRow;
use crate::store::folders::Store;

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
pub async fn once(uploads: &Uploads) -> Result<(), MoveError> {
    let now = uploads.clock.now();
    let uploading = {
        let client = connection(&uploads.pool).await?;
        outbox::prune(&client, now - EVENTS_KEPT).await?;
        jobs::prune(&client, now - JOBS_KEPT).await?;
        db::releases::uploading(&client, now - uploads.abandon_after, BATCH).await?
    };
    for upload in &uploading {
        let held = durable_length(uploads.store.upload(upload.id)).await;
        if held.is_ok_and(|length| length == upload.archive_bytes) {
            go_on(&uploads.pool, upload.id, now).await?;
        } else if upload.abandoned {
            give_up(uploads, upload, now).await?;
        }
    }
    remove_archives_of_ended(&uploads.pool, &uploads.store).await?;
    Ok(())
}

/// Removes archives that no release knows.
///
/// An upload is created file first, and the process ended in between. Only at start, before requests can create one.
///
/// # Errors
/// The database failed.
pub async fn remove_unknown_archives(pool: &Pool, store: &Store) -> Result<(), DatabaseError> {
    for ids in archives(store).await.chunks(BATCH as usize) {
        let known = {
            let client = connection(pool).await?;
            db::releases::known(&client, ids).await?
        };
        for id in ids.iter().filter(|id| !known.contains(id)) {
            remove(&store.upload(*id)).await;
        }
    }
    Ok(())
}

/// An upload whose last byte arrived before a crash goes on.
async fn go_on(pool: &Pool, id: Uuid, now: DateTime<Utc>) -> Result<(), MoveError> {
    let mut client = connection(pool).await?;
    let transaction = begin(&mut client).await?;
    upload_complete(&transaction, id, now).await?;
    Ok(commit(transaction).await?)
}

/// Ends an upload that was idle for too long.
async fn give_up(uploads: &Uploads, release: &UploadRow, now: DateTime<Utc>) -> Result<(), MoveError> {
    // A request that uses it holds the claim; while we hold it, none does or begins to.
    let Some(claim) = uploads.claims.claim_if_free(release.id).await else { return Ok(()) };
    let expires = {
        let client = connection(&uploads.pool).await?;
        uploads.expires(&client, release.id).await?
    };
    if expires <= now {
        uploads.end(claim, release.id, expired(), None).await?;
    }
    Ok(())
}

/// What a crash between a release's end and the removal of its archive left.
async fn remove_archives_of_ended(pool: &Pool, store: &Store) -> Result<(), DatabaseError> {
    for ids in archives(store).await.chunks(BATCH as usize) {
        let ended = {
            let client = connection(pool).await?;
            db::releases::ended(&client, ids).await?
        };
        for id in ended {
            remove(&store.upload(id)).await;
        }
    }
    Ok(())
}

/// The releases whose archives lie in the store.
async fn archives(store: &Store) -> Vec<Uuid> {
    let mut found = Vec::new();
    let Ok(mut files) = tokio::fs::read_dir(store.uploads()).await else { return found };
    while let Ok(Some(file)) = files.next_entry().await {
        let path = file.path();
        found.extend(path.file_stem().and_then(|s| s.to_str()).and_then(|s| s.parse::<Uuid>().ok()));
    }
    found
}
