//! Files that grow: the offset of an upload is the durable length of its file, and nothing else.
//!
//! A handler may be dropped at any await. So the file, with the claim on it, always belongs to the writer: a
//! blocking task that was begun ends its write and only then lets the claim go, and bytes that wait in the buffer of a
//! dropped writer are still written.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use fleet_types::size;
use service_kit::{durable, room};

use crate::store::claims::{Claim, ClaimError};

/// Bytes that are gathered before they are written.
const BUFFER: usize = 1 << 20;

/// Why an upload did not get on.
#[derive(Debug, thiserror::Error)]
pub enum UploadError {
    /// Another request writes it.
    #[error(transparent)]
    Claim(#[from] ClaimError),
    /// The chunk does not begin where the file ends.
    #[error("the chunk begins at {given}, the upload ends at {found}")]
    WrongOffset {
        /// Where the chunk begins.
        given: u64,
        /// Where the file ends.
        found: u64,
    },
    /// More bytes than were announced.
    #[error("the upload has {length} bytes, the chunk goes beyond")]
    TooLong {
        /// The announced length.
        length: u64,
    },
    /// The disk has no room.
    #[error("the disk of {} is full", .path.display())]
    DiskFull {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The disk has room, but that is to stay free.
    #[error("the disk of {} has {} left, and {} are kept free", .path.display(), size(*.free), size(*.reserve))]
    Reserve {
        /// The file.
        path: PathBuf,
        /// Bytes that are free.
        free: u64,
        /// Bytes that uploads leave free.
        reserve: u64,
    },
    /// The file is not there any more.
    #[error("the upload is not there any more")]
    Gone,
    /// The file cannot be used.
    #[error("the upload's file {} cannot be used", .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The worker thread failed.
    #[error("the upload's writer failed")]
    Worker(#[source] tokio::task::JoinError),
}

impl UploadError {
    fn io(path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::DiskFull { path, source },
            io::ErrorKind::NotFound => Self::Gone,
            _ => Self::Io { path, source },
        }
    }
}

/// Makes the empty file of a new upload, durably.
///
/// # Errors
/// It cannot be made.
pub async fn create(path: PathBuf) -> Result<(), UploadError> {
    blocking(move || {
        File::create_new(&path).and_then(|f| f.sync_all()).map_err(|e| UploadError::io(&path, e))?;
        let folder = path.parent().unwrap_or(Path::new("."));
        durable::sync_dir(folder).map_err(|e| UploadError::io(&path, io::Error::other(e)))
    })
    .await
}

/// The durable length: what a client may continue at.
///
/// # Errors
/// The file cannot be read or synced.
pub async fn durable_length(path: PathBuf) -> Result<u64, UploadError> {
    blocking(move || {
        let file = File::open(&path).map_err(|e| UploadError::io(&path, e))?;
        // Measured before the sync: what arrives meanwhile is not covered by it.
        let length = file.metadata().map_err(|e| UploadError::io(&path, e))?.len();
        file.sync_data().map_err(|e| UploadError::io(&path, e))?;
        Ok(length)
    })
    .await
}

/// The length now, durable or not; 0 if there is no file.
pub async fn length(path: &Path) -> u64 {
    tokio::fs::metadata(path).await.map_or(0, |m| m.len())
}

/// Removes an archive that is no longer needed.
///
/// What a crash leaves, the task `uploads` removes.
pub async fn remove(path: &Path) {
    match tokio::fs::remove_file(path).await {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!(file = %path.display(), %error, "an archive is left over");
        }
        _ => {}
    }
}

/// What a chunk must keep to.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Where it begins.
    pub offset: u64,
    /// The announced length of the whole upload.
    pub length: u64,
    /// Bytes of the disk that stay free.
    pub reserve: u64,
}

/// Writes one chunk of an upload.
///
/// Holds the claim on it until it and all its writes are gone.
#[derive(Debug)]
pub struct Writer {
    target: Option<Target>,
}

#[derive(Debug)]
struct Target {
    file: File,
    path: PathBuf,
    /// Where the next write goes.
    end: u64,
    /// How much of that is known to be on the disk.
    synced: u64,
    bounds: Bounds,
    buffer: Vec<u8>,
    _claim: Claim,
}

impl Writer {
    /// Begins at an offset which must be where the file ends.
    ///
    /// # Errors
    /// Another request writes, the offset differs, or the file cannot be used.
    pub async fn open(path: PathBuf, bounds: Bounds, claim: Claim) -> Result<Self, UploadError> {
        blocking(move || {
            let file = OpenOptions::new().write(true).open(&path).map_err(|e| UploadError::io(&path, e))?;
            // The claim keeps this process's requests apart; the lock keeps out what is left of one that is ending.
            file.try_lock().map_err(|e| match e {
                TryLockError::WouldBlock => ClaimError::Busy.into(),
                TryLockError::Error(e) => UploadError::io(&path, e),
            })?;
            let found = file.metadata().map_err(|e| UploadError::io(&path, e))?.len();
            if found != bounds.offset {
                return Err(UploadError::WrongOffset { given: bounds.offset, found });
            }
            file.sync_data().map_err(|e| UploadError::io(&path, e))?;
            let target = Target { file, path, end: found, synced: found, bounds, buffer: Vec::new(), _claim: claim };
            Ok(Self { target: Some(target) })
        })
        .await
    }

    /// Adds bytes.
    ///
    /// # Errors
    /// They go beyond the announced length, or cannot be written. What came before stays.
    pub async fn push(&mut self, bytes: &[u8]) -> Result<(), UploadError> {
        let Some(target) = self.target.as_mut() else { return Err(UploadError::Gone) };
        let length = target.bounds.length;
        if target.end + (target.buffer.len() + bytes.len()) as u64 > length {
            return Err(UploadError::TooLong { length });
        }
        target.buffer.extend_from_slice(bytes);
        if target.buffer.len() >= BUFFER { self.write(false).await } else { Ok(()) }
    }

    /// Writes and syncs what is left; where the file ends now.
    ///
    /// The claim stays until this is dropped.
    ///
    /// # Errors
    /// It cannot be written or synced.
    pub async fn flush(&mut self) -> Result<u64, UploadError> {
        self.write(true).await?;
        Ok(self.target.as_ref().map_or(0, |t| t.end))
    }

    async fn write(&mut self, sync: bool) -> Result<(), UploadError> {
        let Some(mut target) = self.target.take() else { return Err(UploadError::Gone) };
        // The target moves into the task and back: if this future is dropped, the task still ends, then lets go.
        let (target, result) = tokio::task::spawn_blocking(move || {
            let result = target.write(sync);
            (target, result)
        })
        .await
        .map_err(UploadError::Worker)?;
        self.target = Some(target);
        result
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let Some(mut target) = self.target.take().filter(|t| !t.buffer.is_empty()) else { return };
        let mut save = move || {
            if let Err(error) = target.write(true) {
                tracing::warn!(%error, "the last bytes of a broken upload are lost; it continues before them");
            }
        };
        // Dropped with its connection, in the middle of a runtime that must not wait for a disk.
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(save)),
            Err(_) => save(),
        }
    }
}

impl Target {
    /// Writes the buffer as far as it goes.
    ///
    /// What could not be written is forgotten: the client sends it again.
    fn write(&mut self, sync: bool) -> Result<(), UploadError> {
        let written = self.leave_reserve().and_then(|()| self.write_buffer());
        self.buffer.clear();
        let synced = if sync || written.is_err() { self.sync() } else { Ok(()) };
        written.and(synced)
    }

    fn leave_reserve(&self) -> Result<(), UploadError> {
        let reserve = self.bounds.reserve;
        if reserve == 0 || self.buffer.is_empty() {
            return Ok(());
        }
        let free = room::of_file(&self.file).map_err(|e| UploadError::io(&self.path, e))?.free;
        if free < reserve.saturating_add(self.buffer.len() as u64) {
            return Err(UploadError::Reserve { path: self.path.clone(), free, reserve });
        }
        Ok(())
    }

    fn write_buffer(&mut self) -> Result<(), UploadError> {
        let mut rest = self.buffer.as_slice();
        while !rest.is_empty() {
            match self.file.write_at(rest, self.end) {
                Ok(0) => return Err(UploadError::io(&self.path, io::ErrorKind::WriteZero.into())),
                Ok(written) => {
                    self.end += written as u64;
                    rest = &rest[written..];
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(UploadError::io(&self.path, e)),
            }
        }
        Ok(())
    }

    fn sync(&mut self) -> Result<(), UploadError> {
        let Err(source) = self.file.sync_data() else {
            self.synced = self.end;
            return Ok(());
        };
        // The kernel tells of a failed write once and may drop its pages: only what it confirmed before still counts.
        if let Err(error) = self.file.set_len(self.synced) {
            tracing::error!(file = %self.path.display(), %error, "what may not be on the disk could not be cut off");
        }
        self.end = self.synced;
        Err(UploadError::io(&self.path, source))
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, UploadError> + Send + 'static,
) -> Result<T, UploadError> {
    tokio::task::spawn_blocking(work).await.map_err(UploadError::Worker)?
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::claims::Claims;
    use std::time::Duration;
    use test_kit::wait_for;
    use uuid::Uuid;

    async fn fresh() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.upd");
        create(path.clone()).await.unwrap();
        (dir, path)
    }

    async fn open(path: &Path, offset: u64, length: u64) -> Result<Writer, UploadError> {
        let claim = Claims::default().claim(Uuid::new_v4(), "ann").await.unwrap();
        Writer::open(path.to_owned(), Bounds { offset, length, reserve: 0 }, claim).await
    }

    #[tokio::test]
    async fn two_at_once_do_not_mix() {
        let (_dir, path) = fresh().await;
        let first = open(&path, 0, 10).await.unwrap();
        assert!(matches!(open(&path, 0, 10).await, Err(UploadError::Claim(ClaimError::Busy))));
        drop(first);
        open(&path, 0, 10).await.unwrap();
    }

    #[tokio::test]
    async fn a_dropped_writer_keeps_what_arrived_and_lets_the_lock_go() {
        let (_dir, path) = fresh().await;
        let mut writer = open(&path, 0, 10).await.unwrap();
        writer.push(b"hello").await.unwrap();
        drop(writer);
        let mut next =
            wait_for("the lock to be free", Duration::from_secs(10), async || open(&path, 5, 10).await).await;
        assert_eq!(next.flush().await.unwrap(), 5);
        assert_eq!(std::fs::read(&path).unwrap(), b"hello");
    }

    #[tokio::test]
    async fn nothing_beyond_the_announced_length_is_kept() {
        let (_dir, path) = fresh().await;
        let mut writer = open(&path, 0, 4).await.unwrap();
        assert!(matches!(writer.push(b"hello").await, Err(UploadError::TooLong { length: 4 })));
        assert_eq!(writer.flush().await.unwrap(), 0);
    }

    #[tokio::test]
    async fn what_is_to_stay_free_stays_free() {
        let (_dir, path) = fresh().await;
        let claim = Claims::default().claim(Uuid::new_v4(), "ann").await.unwrap();
        let bounds = Bounds { offset: 0, length: 10, reserve: u64::MAX / 2 };
        let mut writer = Writer::open(path.clone(), bounds, claim).await.unwrap();
        writer.push(b"hello").await.unwrap();
        assert!(matches!(writer.flush().await, Err(UploadError::Reserve { reserve, .. }) if reserve == u64::MAX / 2));
        assert_eq!(writer.flush().await.unwrap(), 0, "what was refused is not written later");
        assert_eq!(length(&path).await, 0);
    }

    #[tokio::test]
    async fn a_chunk_must_begin_where_the_file_ends() {
        let (_dir, path) = fresh().await;
        let error = open(&path, 3, 10).await.unwrap_err();
        assert!(matches!(error, UploadError::WrongOffset { given: 3, found: 0 }));
        assert_eq!(durable_length(path).await.unwrap(), 0);
        assert!(matches!(durable_length("/nonexistent/a".into()).await, Err(UploadError::Gone)));
    }
}
