//! At start: what lies in the store is compared with what the database knows. Files that the database does not know are removed once
//! they are old enough to be no mistake; files that are missing are said to be.

use std::io;
use std::path::Path;
use std::time::SystemTime;

use chrono::{DateTime, Utc};
use fleet_types::Digest;
use service_kit::database::{DatabaseError, Pool, connection};
use wire::{Reason, ReasonCode};

use crate::db;
use crate::store::folders::Store;

/// Files that are compared with one statement.
const BATCH: usize = 1000;

/// Compares store and database, both ways. Before any job runs.
///
/// Unknown files that were written after `kept_since` stay; without a time, all of them.
///
/// # Errors
/// The database failed.
pub async fn take_stock(pool: &Pool, store: &Store, kept_since: Option<DateTime<Utc>>) -> Result<(), DatabaseError> {
    for files in names(&store.artifacts()).await.chunks(BATCH) {
        let digests: Vec<Digest> = files.iter().filter_map(|name| digest(name)).collect();
        let known = {
            let client = connection(pool).await?;
            db::artifacts::known(&client, &digests).await?
        };
        for name in files.iter().filter(|name| !digest(name).is_some_and(|d| known.contains(&d))) {
            remove_if_old(kept_since, &store.artifacts().join(name)).await;
        }
    }
    for files in names(&store.folder().join("work")).await.chunks(BATCH) {
        let digests: Vec<Digest> = files.iter().filter_map(|name| digest(name)).collect();
        let wanted = {
            let client = connection(pool).await?;
            db::payloads::to_encode(&client, &digests).await?
        };
        for name in files.iter().filter(|name| !digest(name).is_some_and(|d| wanted.contains(&d))) {
            remove_if_old(kept_since, &store.folder().join("work").join(name)).await;
        }
    }
    report_missing(pool, store).await
}

/// A published release whose artifact's file is gone says so, until it is back.
async fn report_missing(pool: &Pool, store: &Store) -> Result<(), DatabaseError> {
    let (seeded, told) = {
        let client = connection(pool).await?;
        (db::artifacts::seeded(&client).await?, db::artifacts::told_missing(&client).await?)
    };
    let mut looked_at = Vec::new();
    for artifact in &seeded {
        let path = store.artifact(artifact);
        let found = tokio::fs::metadata(&path).await.map(|m| m.len());
        let reason = |code| Reason::of(code).with("file", artifact.file_name());
        let trouble = match found {
            Ok(length) if length == artifact.length => None,
            Ok(length) => {
                let cut = reason(ReasonCode::StoreFileCut).with("found", length);
                Some(cut.with("length", artifact.length))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Some(reason(ReasonCode::StoreFileMissing)),
            Err(error) => Some(reason(ReasonCode::StoreFileUnreadable).with("error", error)),
        };
        if trouble.is_none() && !told.contains(&artifact.sha256) {
            continue;
        }
        if let Some(trouble) = &trouble {
            let trouble = trouble.sentence();
            tracing::error!(file = %path.display(), trouble, "an artifact is not as it was stored");
        }
        looked_at.push((artifact.sha256, trouble));
    }
    // What is whole again comes first: of a release with several artifacts, the one that is missing has the last word.
    looked_at.sort_by_key(|(_, trouble)| trouble.is_some());
    for (artifact, trouble) in looked_at {
        let client = connection(pool).await?;
        db::artifacts::tell_missing(&client, &artifact, trouble.as_ref()).await?;
    }
    Ok(())
}

/// The digest that a file's name begins with.
fn digest(name: &str) -> Option<Digest> {
    name.split('.').next().and_then(|stem| stem.parse().ok())
}

async fn names(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let Ok(mut files) = tokio::fs::read_dir(folder).await else { return found };
    while let Ok(Some(file)) = files.next_entry().await {
        found.extend(file.file_name().into_string().ok());
    }
    found
}

/// Removes a file or folder of ours that the database does not know.
///
/// A young one stays: with the wrong database everything looks unknown.
async fn remove_if_old(kept_since: Option<DateTime<Utc>>, path: &Path) {
    let ours = path.file_name().and_then(|n| n.to_str()).and_then(digest).is_some();
    let Ok(metadata) = tokio::fs::symlink_metadata(path).await else { return };
    let written: DateTime<Utc> = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH).into();
    if !ours || kept_since.is_none_or(|since| written > since) {
        tracing::warn!(file = %path.display(), "unknown file in the store; kept for now");
        return;
    }
    let removed = match metadata.is_dir() {
        true => tokio::fs::remove_dir_all(path).await,
        false => tokio::fs::remove_file(path).await,
    };
    match removed {
        Ok(()) => tracing::warn!(file = %path.display(), "removed an unknown file from the store"),
        Err(error) => tracing::warn!(file = %path.display(), %error, "cannot remove an unknown file from the store"),
    }
}
