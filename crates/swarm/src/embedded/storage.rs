//! Content on disk: positioned reads and writes, no mapping, at most one open handle a torrent. Everything here blocks.

use std::fs::{File, OpenOptions};
use std::io::{self, IoSliceMut};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::{ReadWriteFlags, preadv2};
use sha2::{Digest as _, Sha256};

use crate::Torrent;

/// Where the content of one torrent lies. Every method blocks.
pub(crate) trait Storage: Send + Sync {
    /// Fills `into` from the content at `offset`.
    fn read_at(&self, offset: u64, into: &mut [u8]) -> Result<(), StorageError>;

    /// Fills `into` if that needs no disk; false if it does, or is not known. Does not block.
    fn read_cached(&self, offset: u64, into: &mut [u8]) -> bool;

    /// Writes a piece whose bytes were verified.
    fn write_piece(&self, offset: u64, bytes: &[u8]) -> Result<(), StorageError>;

    /// Makes what was written last through a power cut.
    fn sync(&self) -> Result<(), StorageError>;

    /// Closes what is open. The next read or write opens it again.
    fn rest(&self);

    /// Changes if the files were written, replaced or removed. `None`: nothing is there.
    fn identity(&self) -> Option<[u8; 32]>;
}

/// Why content could not be read or written.
#[derive(Debug, thiserror::Error)]
#[error("cannot {doing} {} ({source}): {}", path.display(), self.remedy())]
pub(crate) struct StorageError {
    /// The file.
    pub(crate) path: PathBuf,
    doing: &'static str,
    /// What the system said.
    pub(crate) source: io::Error,
}

impl StorageError {
    /// What to do about it.
    pub(crate) fn remedy(&self) -> &'static str {
        match self.source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                "free space on this disk, the engine tries again by itself"
            }
            io::ErrorKind::ReadOnlyFilesystem => {
                "check the disk, then mount it for writing (`mount -o remount,rw`); the engine tries again by itself"
            }
            io::ErrorKind::PermissionDenied => "let the engine's user read and write there",
            io::ErrorKind::NotFound | io::ErrorKind::UnexpectedEof => "the content is gone and is fetched again",
            _ => "check the disk (`dmesg`, `smartctl -a`), the engine tries again by itself",
        }
    }
}

#[derive(Debug)]
struct Part {
    path: PathBuf,
    start: u64,
    length: u64,
    padding: bool,
}

#[derive(Debug, Clone)]
struct Handle {
    part: usize,
    writable: bool,
    file: Arc<File>,
}

/// The files of a torrent. Space is allocated before the first byte of a file is written, so that a full disk is an error at once.
#[derive(Debug)]
pub(crate) struct FileStorage {
    parts: Vec<Part>,
    open: Mutex<Option<Handle>>,
}

impl FileStorage {
    /// The content of `torrent` in `folder`. Opens nothing.
    pub(crate) fn new(torrent: &Torrent, folder: &Path) -> Self {
        let root = folder.join(torrent.name());
        let mut start = 0;
        let mut part = |file: &crate::TorrentFile| {
            let path = file.path.iter().fold(root.clone(), |path, name| path.join(name));
            let part = Part { path, start, length: file.length, padding: file.padding };
            start += file.length;
            part
        };
        Self { parts: torrent.files().iter().map(&mut part).collect(), open: Mutex::new(None) }
    }

    /// Calls `each` with every part that `offset .. offset + length` touches, the offset in its file and the range of bytes.
    fn each(
        &self,
        offset: u64,
        length: usize,
        mut each: impl FnMut(usize, u64, std::ops::Range<usize>) -> Result<(), StorageError>,
    ) -> Result<(), StorageError> {
        let end = offset + length as u64;
        let first = self.parts.partition_point(|part| part.start + part.length <= offset);
        for (number, part) in self.parts.iter().enumerate().skip(first) {
            if part.start >= end {
                break;
            }
            let (from, to) = (part.start.max(offset), (part.start + part.length).min(end));
            if from < to && !part.padding {
                // Both lie within `length`, which is a usize.
                let range = (from - offset) as usize..(to - offset) as usize;
                each(number, from - part.start, range)?;
            }
        }
        Ok(())
    }

    fn handle(&self, number: usize, writable: bool) -> Result<Arc<File>, StorageError> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(handle) = open.as_ref().filter(|h| h.part == number && (h.writable || !writable)) {
            return Ok(handle.file.clone());
        }
        let Some(part) = self.parts.get(number) else {
            let source = io::ErrorKind::NotFound.into();
            return Err(StorageError { path: PathBuf::new(), doing: "find", source });
        };
        *open = None;
        let file = if writable { part.open_to_write() } else { part.failed("open", File::open(&part.path)) };
        let file = Arc::new(file?);
        *open = Some(Handle { part: number, writable, file: file.clone() });
        Ok(file)
    }
}

impl Part {
    fn failed<T>(&self, doing: &'static str, result: io::Result<T>) -> Result<T, StorageError> {
        result.map_err(|source| StorageError { path: self.path.clone(), doing, source })
    }

    /// Opens it at its full length. A file that is too long is cut.
    fn open_to_write(&self) -> Result<File, StorageError> {
        if let Some(folder) = self.path.parent() {
            self.failed("make the folder of", std::fs::create_dir_all(folder))?;
        }
        let options =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o640).open(&self.path);
        let file = self.failed("open", options)?;
        let there = self.failed("look at", file.metadata())?.len();
        if there > self.length {
            self.failed("cut", file.set_len(self.length))?;
        } else if there < self.length {
            match fallocate(&file, FallocateFlags::empty(), 0, self.length) {
                Ok(()) => {}
                Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => {
                    self.failed("extend", file.set_len(self.length))?;
                }
                Err(error) => return self.failed("allocate", Err(error.into())),
            }
        }
        Ok(file)
    }
}

impl Storage for FileStorage {
    fn read_at(&self, offset: u64, into: &mut [u8]) -> Result<(), StorageError> {
        // Padding is zeros.
        into.fill(0);
        let length = into.len();
        self.each(offset, length, |number, at, range| {
            let file = self.handle(number, false)?;
            let (Some(part), Some(into)) = (self.parts.get(number), into.get_mut(range)) else { return Ok(()) };
            part.failed("read", file.read_exact_at(into, at))
        })
    }

    fn read_cached(&self, offset: u64, into: &mut [u8]) -> bool {
        // A lock that is held may be held while a file is opened.
        let open = self.open.try_lock().ok().and_then(|open| open.clone());
        let Some(handle) = open else { return false };
        let Some(part) = self.parts.get(handle.part) else { return false };
        let Some(at) = offset.checked_sub(part.start) else { return false };
        if part.padding || at + into.len() as u64 > part.length {
            return false;
        }
        let length = into.len();
        let read = preadv2(&handle.file, &mut [IoSliceMut::new(into)], at, ReadWriteFlags::NOWAIT);
        read.is_ok_and(|read| read == length)
    }

    fn write_piece(&self, offset: u64, bytes: &[u8]) -> Result<(), StorageError> {
        self.each(offset, bytes.len(), |number, at, range| {
            let file = self.handle(number, true)?;
            let (Some(part), Some(bytes)) = (self.parts.get(number), bytes.get(range)) else { return Ok(()) };
            let written = file.write_all_at(bytes, at);
            // Of several files only one is open: the last chance to sync this one.
            let synced = if self.parts.len() > 1 { written.and_then(|()| file.sync_data()) } else { written };
            part.failed("write", synced)
        })
    }

    fn sync(&self) -> Result<(), StorageError> {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(handle) = open.filter(|handle| handle.writable) else { return Ok(()) };
        match self.parts.get(handle.part) {
            Some(part) => part.failed("sync", handle.file.sync_data()),
            None => Ok(()),
        }
    }

    fn rest(&self) {
        *self.open.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn identity(&self) -> Option<[u8; 32]> {
        let mut sum = Sha256::new();
        let mut any = false;
        for part in self.parts.iter().filter(|part| !part.padding) {
            let Ok(file) = std::fs::metadata(&part.path) else {
                sum.update([0; 32]);
                continue;
            };
            any = true;
            for number in [file.len(), file.ino(), file.mtime().cast_unsigned(), file.mtime_nsec().cast_unsigned()] {
                sum.update(number.to_be_bytes());
            }
        }
        any.then(|| sum.finalize().into())
    }
}

#[cfg(test)]
#[path = "storage_tests.rs"]
mod tests;
