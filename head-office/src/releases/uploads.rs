//! Files that grow: the offset of an upload is the durable length of its file, and nothing else.
//!
//! A handler may be dropped at any await. So the file, with the lock on it, always belongs to whoever writes: a
//! blocking task that was begun ends its write and only then lets the lock go, and bytes that wait in the buffer of a
//! dropped writer are still written.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use service_kit::durable;

/// Bytes that are gathered before they are written.
const BUFFER: usize = 1 << 20;

/// Why an upload did not get on.
#[derive(Debug, thiserror::Error)]
pub enum UploadError {
    /// Another request writes it.
    #[error("another request is writing this upload")]
    Busy,
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

/// Writes one chunk of an upload. Holds the upload's lock until it and all its writes are gone.
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
    /// The announced length of the whole.
    length: u64,
    buffer: Vec<u8>,
}

impl Writer {
    /// Takes the lock and begins at `offset`, which must be where the file ends.
    ///
    /// # Errors
    /// Somebody writes, the offset is another, or the file cannot be used.
    pub async fn open(path: PathBuf, offset: u64, length: u64) -> Result<Self, UploadError> {
        blocking(move || {
            let file = OpenOptions::new().write(true).open(&path).map_err(|e| UploadError::io(&path, e))?;
            file.try_lock().map_err(|e| match e {
                TryLockError::WouldBlock => UploadError::Busy,
                TryLockError::Error(e) => UploadError::io(&path, e),
            })?;
            let found = file.metadata().map_err(|e| UploadError::io(&path, e))?.len();
            if found != offset {
                return Err(UploadError::WrongOffset { given: offset, found });
            }
            let target = Target { file, path, end: found, length, buffer: Vec::new() };
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
        if target.end + (target.buffer.len() + bytes.len()) as u64 > target.length {
            return Err(UploadError::TooLong { length: target.length });
        }
        target.buffer.extend_from_slice(bytes);
        if target.buffer.len() >= BUFFER { self.write(false).await } else { Ok(()) }
    }

    /// Writes and syncs what is left; where the file ends now.
    ///
    /// # Errors
    /// It cannot be written or synced.
    pub async fn finish(mut self) -> Result<u64, UploadError> {
        self.write(true).await?;
        Ok(self.target.as_ref().map_or(0, |t| t.end))
    }

    async fn write(&mut self, sync: bool) -> Result<(), UploadError> {
        let Some(mut target) = self.target.take() else { return Err(UploadError::Gone) };
        // The target moves into the task and back: if this future is dropped, the task still ends, then unlocks.
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
    fn write(&mut self, sync: bool) -> Result<(), UploadError> {
        let failed = |e| UploadError::io(&self.path, e);
        self.file.write_all_at(&self.buffer, self.end).map_err(failed)?;
        self.end += self.buffer.len() as u64;
        self.buffer.clear();
        if sync { self.file.sync_data().map_err(failed) } else { Ok(()) }
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
    use std::time::Duration;
    use test_kit::wait_for;

    async fn fresh() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.upd");
        create(path.clone()).await.unwrap();
        (dir, path)
    }

    #[tokio::test]
    async fn two_at_once_do_not_mix() {
        let (_dir, path) = fresh().await;
        let first = Writer::open(path.clone(), 0, 10).await.unwrap();
        assert!(matches!(Writer::open(path.clone(), 0, 10).await, Err(UploadError::Busy)));
        drop(first);
        Writer::open(path, 0, 10).await.unwrap();
    }

    #[tokio::test]
    async fn a_dropped_writer_keeps_what_arrived_and_lets_the_lock_go() {
        let (_dir, path) = fresh().await;
        let mut writer = Writer::open(path.clone(), 0, 10).await.unwrap();
        writer.push(b"hello").await.unwrap();
        drop(writer);
        let next =
            wait_for("the lock to be free", Duration::from_secs(10), async || Writer::open(path.clone(), 5, 10).await)
                .await;
        assert_eq!(next.finish().await.unwrap(), 5);
        assert_eq!(std::fs::read(&path).unwrap(), b"hello");
    }

    #[tokio::test]
    async fn nothing_beyond_the_announced_length_is_kept() {
        let (_dir, path) = fresh().await;
        let mut writer = Writer::open(path.clone(), 0, 4).await.unwrap();
        assert!(matches!(writer.push(b"hello").await, Err(UploadError::TooLong { length: 4 })));
        assert_eq!(writer.finish().await.unwrap(), 0);
    }

    #[tokio::test]
    async fn a_chunk_must_begin_where_the_file_ends() {
        let (_dir, path) = fresh().await;
        let error = Writer::open(path.clone(), 3, 10).await.unwrap_err();
        assert!(matches!(error, UploadError::WrongOffset { given: 3, found: 0 }));
        assert_eq!(durable_length(path).await.unwrap(), 0);
        assert!(matches!(durable_length("/nonexistent/a".into()).await, Err(UploadError::Gone)));
    }
}
