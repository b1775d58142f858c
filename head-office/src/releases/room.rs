//! Room for one more upload.

use std::io;

use chrono::DateTime;
use fleet_types::size;
use service_kit::database::{DatabaseError, connection};

use super::arriving::Uploads;
use super::uploads;
use crate::db;

/// Most uploads that are under way at once. Each holds a row, a file and a part of the disk.
const MOST_UNDER_WAY: usize = 100;

/// Why there is no room for an upload.
#[derive(Debug, thiserror::Error)]
pub enum RoomError {
    /// Too many are under way.
    #[error("{MOST_UNDER_WAY} uploads are under way, the most at a time")]
    TooMany,
    /// The disk has too little room.
    #[error(
        "the archive has {}. The store has {} free, of which {} are kept free{}",
        size(*.length), size(*.free), size(*.reserve), of_others(*.promised, *.others)
    )]
    NoRoom {
        /// Bytes of the archive.
        length: u64,
        /// Free bytes of the disk.
        free: u64,
        /// Bytes that are kept free.
        reserve: u64,
        /// Bytes that other uploads were promised.
        promised: u64,
        /// How many uploads are under way.
        others: usize,
    },
    /// The disk cannot be asked.
    #[error("the free space of the store cannot be read")]
    Disk(#[from] io::Error),
    /// A thread failed.
    #[error("the free space of the store cannot be read")]
    Worker(#[from] tokio::task::JoinError),
    /// The database failed.
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

fn of_others(promised: u64, others: usize) -> String {
    if promised > 0 { format!(" and {} are for uploads under way: {others}", size(promised)) } else { String::new() }
}

/// Refuses an upload for which there is no room, before anything of it arrives.
///
/// What other uploads were promised and `reserve` are left out.
///
/// # Errors
/// There is no room, or too many are under way.
pub async fn for_upload(arriving: &Uploads, reserve: u64, length: u64) -> Result<(), RoomError> {
    let others = {
        let client = connection(&arriving.pool).await?;
        db::releases::uploading(&client, DateTime::UNIX_EPOCH, 1 + MOST_UNDER_WAY as i64).await?
    };
    if others.len() >= MOST_UNDER_WAY {
        return Err(RoomError::TooMany);
    }
    let mut promised: u64 = 0;
    for other in &others {
        let held = uploads::length(&arriving.store.upload(other.id)).await;
        promised = promised.saturating_add(other.archive_bytes.saturating_sub(held));
    }
    let store = arriving.store.clone();
    let free = tokio::task::spawn_blocking(move || store.free_bytes()).await??;
    if free >= length.saturating_add(promised).saturating_add(reserve) {
        return Ok(());
    }
    Err(RoomError::NoRoom { length, free, reserve, promised, others: others.len() })
}
