//! What the task of a torrent has done elsewhere: on the blocking pool, and by trackers.

use std::sync::Arc;
use std::time::Duration;

use fleet_types::InfoHash;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::shared::Shared;
use super::state::Record;
use super::storage::{FileStorage, Storage, StorageError};
use super::verify::{Progress, verify};
use super::{Shape, resume};
use crate::torrent::Torrent;
use crate::tracker::announce::{AnnounceError, Counts, announce_as};
use crate::tracker::{Announced, Announcement, Event};

/// How long an announce may take.
const ANNOUNCE: Duration = Duration::from_secs(10);
/// How many peers a tracker is asked for.
const WANT: u16 = 200;

/// A torrent that is ready to be worked with.
#[derive(Clone)]
pub(crate) struct Loaded {
    pub(crate) torrent: Arc<Torrent>,
    pub(crate) storage: Arc<dyn Storage>,
}

/// A job's result.
pub(crate) enum Done {
    /// The torrent, and its pieces if they are known for certain.
    Loaded(Result<(Loaded, Option<Vec<u8>>), String>),
    /// The pieces on disk; `None`: cancelled.
    Verified(Result<Option<Vec<u8>>, StorageError>),
    Checked(Checked),
    Flushed(Result<(), String>),
    /// Whether the content is as it was when it was last looked at.
    Compared {
        same: bool,
    },
    Announced {
        number: usize,
        event: Event,
        answer: Result<Announced, AnnounceError>,
    },
    /// A worker panicked or was cut off.
    Lost,
}

/// A piece to be checked and stored.
pub(crate) struct Check {
    pub(crate) piece: u32,
    pub(crate) bytes: Vec<u8>,
    pub(crate) failures: u32,
}

/// What came of it.
pub(crate) struct Checked {
    pub(crate) check: Check,
    pub(crate) outcome: Outcome,
}

pub(crate) enum Outcome {
    Stored,
    Mismatched,
    Failed(StorageError),
}

/// Reads a torrent's file and what it held.
pub(crate) async fn load(shared: Arc<Shared>, hash: InfoHash, record: Record) -> Done {
    let read = move || {
        let bytes = shared.state.torrent(&hash).map_err(|error| format!("its torrent file cannot be read: {error}"))?;
        let torrent = Torrent::parse(&bytes).map_err(|error| error.to_string())?;
        let storage = FileStorage::new(&torrent, &record.folder);
        let length = torrent.piece_count().div_ceil(8) as usize;
        let known = storage.identity().and_then(|now| resume::load(&shared.state.pieces(&hash), &now, length));
        Ok((Loaded { torrent: Arc::new(torrent), storage: Arc::new(storage) }, known))
    };
    spawn_blocking(read).await.map_or(Done::Lost, Done::Loaded)
}

/// Hashes the content, one torrent of the engine at a time.
pub(crate) async fn verify_content(shared: Arc<Shared>, loaded: Loaded, progress: Arc<Progress>) -> Done {
    let permit = tokio::select! {
        permit = shared.verifying.acquire() => permit,
        () = progress.cancelled() => return Done::Verified(Ok(None)),
    };
    let hash = move || {
        // What is open may be a file that was replaced or deleted.
        loaded.storage.rest();
        verify(&loaded.torrent, loaded.storage.as_ref(), &progress)
    };
    let done = spawn_blocking(hash).await.map_or(Done::Lost, Done::Verified);
    drop(permit);
    done
}

/// Hashes a piece, and stores it if it matches.
pub(crate) async fn check(shared: Arc<Shared>, loaded: Loaded, shape: Shape, check: Check) -> Done {
    let permit = shared.disk.acquire().await;
    let work = move || {
        let outcome = if !loaded.torrent.piece_matches(u64::from(check.piece), &check.bytes) {
            Outcome::Mismatched
        } else {
            let offset = shape.offset_of(shape.block(check.piece, 0));
            match loaded.storage.write_piece(offset, &check.bytes) {
                Ok(()) => Outcome::Stored,
                Err(error) => Outcome::Failed(error),
            }
        };
        Done::Checked(Checked { check, outcome })
    };
    let done = spawn_blocking(work).await.unwrap_or(Done::Lost);
    drop(permit);
    done
}

/// Makes pieces last: syncs the content, and only then writes down which pieces it holds.
pub(crate) async fn flush(shared: Arc<Shared>, hash: InfoHash, loaded: Loaded, bits: Vec<u8>, record: Record) -> Done {
    let work = move || {
        loaded.storage.sync().map_err(|error| error.to_string())?;
        if let Some(identity) = loaded.storage.identity() {
            resume::store(&shared.state.pieces(&hash), &identity, &bits).map_err(|error| error.to_string())?;
        }
        shared.state.update(&hash, &record).map_err(|error| error.to_string())
    };
    spawn_blocking(work).await.map_or(Done::Lost, Done::Flushed)
}

/// Compares the content with what was written down of it.
pub(crate) async fn compare(shared: Arc<Shared>, hash: InfoHash, loaded: Loaded) -> Done {
    let work = move || {
        let length = loaded.torrent.piece_count().div_ceil(8) as usize;
        let path = shared.state.pieces(&hash);
        let same = loaded.storage.identity().is_some_and(|now| resume::load(&path, &now, length).is_some());
        Done::Compared { same }
    };
    spawn_blocking(work).await.unwrap_or(Done::Lost)
}

/// Sends one announce.
pub(crate) async fn announce(
    shared: Arc<Shared>,
    hash: InfoHash,
    (number, url, event): (usize, String, Event),
    left: u64,
    counts: Counts,
) -> Done {
    let _permit = shared.announces.acquire().await;
    let port = shared.sockets.listen.port();
    let want = if event == Event::Stopped { 0 } else { WANT };
    let announcement = Announcement { hash, event, port, left, want };
    let sent = announce_as(&shared.client, &url, &announcement, &shared.peer_id, counts);
    let answer = timeout(ANNOUNCE, sent)
        .await
        .unwrap_or_else(|elapsed| Err(AnnounceError::Unreachable { url: url.clone(), source: elapsed.into() }));
    Done::Announced { number, event, answer }
}
