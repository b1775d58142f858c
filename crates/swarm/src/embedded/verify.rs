//! Hashes content on disk with one piece in memory. Blocks.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::sync::Notify;

use super::storage::{Storage, StorageError};
use crate::Torrent;

/// How far a verification is, and whether it is still wanted.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    /// Bytes hashed so far.
    pub(crate) checked: AtomicU64,
    cancelled: AtomicBool,
    wake: Notify,
}

impl Progress {
    /// Ends the verification early.
    pub(crate) fn cancel(&self) {
        self.cancelled.store(true, Ordering::Relaxed);
        self.wake.notify_one();
    }

    /// Returns once it is cancelled.
    pub(crate) async fn cancelled(&self) {
        while !self.cancelled.load(Ordering::Relaxed) {
            self.wake.notified().await;
        }
    }
}

/// Returns the bitfield of the pieces that are on disk and match. Missing content is not an error.
///
/// # Errors
/// Content that is there cannot be read. Ends early with `None` if cancelled.
pub(crate) fn verify(
    torrent: &Torrent,
    storage: &dyn Storage,
    progress: &Progress,
) -> Result<Option<Vec<u8>>, StorageError> {
    let mut bits = vec![0u8; torrent.piece_count().div_ceil(8) as usize];
    if storage.identity().is_none() {
        return Ok(Some(bits));
    }
    let mut piece_bytes = vec![0u8; torrent.piece_length() as usize];
    for piece in 0..torrent.piece_count() {
        if progress.cancelled.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let offset = piece * u64::from(torrent.piece_length());
        // At most a piece length, which is a u32.
        let length = (torrent.length() - offset).min(u64::from(torrent.piece_length())) as usize;
        let Some(bytes) = piece_bytes.get_mut(..length) else { break };
        match storage.read_at(offset, bytes) {
            Ok(()) => {
                if torrent.piece_matches(piece, bytes)
                    && let Some(byte) = bits.get_mut((piece / 8) as usize)
                {
                    *byte |= 0x80 >> (piece % 8);
                }
            }
            Err(error) if is_absent(&error) => {}
            Err(error) => return Err(error),
        }
        progress.checked.fetch_add(length as u64, Ordering::Relaxed);
    }
    Ok(Some(bits))
}

fn is_absent(error: &StorageError) -> bool {
    matches!(error.source.kind(), io::ErrorKind::NotFound | io::ErrorKind::UnexpectedEof)
}
