//! The narrow view of a slot that is all anything here needs, and its adapter for files and block devices.

use std::fs::{File, OpenOptions};
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{Advice, OFlags, fadvise};

use crate::payload::PayloadId;

/// A place an image is written to: a slot's partition, or a file that stands for one.
pub trait ImageDisk: Send {
    /// How many bytes it holds. An image does not make it longer.
    fn length(&mut self) -> io::Result<u64>;

    /// Writes all of `bytes` at `offset`, or fails.
    ///
    /// After a failure anything may stand in that range. Durable only after [`sync`](Self::sync).
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Fills `buf` from `offset`, or fails.
    fn read_at(&mut self, offset: u64, buf: &mut [u8]) -> io::Result<()>;

    /// Returns once everything written before survives a power cut.
    ///
    /// After a failure none of it can be relied on.
    fn sync(&mut self) -> io::Result<()>;

    /// Drops caches, so that reads come from the medium.
    ///
    /// The implementation documents its limits.
    fn drop_caches(&mut self) -> io::Result<()>;
}

/// The disk holds fewer bytes than the image has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the device holds {available} bytes and the image needs {needed}: it is smaller than the image; \
         choose a release that fits this model's slots, or enlarge them"
)]
pub struct DeviceTooSmall {
    /// The image's length in bytes.
    pub needed: u64,
    /// The device's length in bytes.
    pub available: u64,
}

/// Whether a payload fits a disk. Asked again before every write, because it costs nothing.
///
/// # Errors
/// The outer one when the disk cannot say how long it is; the inner one when it is too short.
pub fn check_fits(disk: &mut dyn ImageDisk, payload: PayloadId) -> io::Result<Result<(), DeviceTooSmall>> {
    let available = disk.length()?;
    if payload.length > available {
        return Ok(Err(DeviceTooSmall { needed: payload.length, available }));
    }
    Ok(Ok(()))
}

/// An access beyond the end of the disk.
///
/// Comes inside an [`io::Error`] of kind `InvalidInput`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("bytes {offset} to {end} are beyond the device's end at {length}; nothing was written")]
pub struct PastEnd {
    /// Where the access begins.
    pub offset: u64,
    /// Where it ends.
    pub end: u64,
    /// Where the device ends.
    pub length: u64,
}

/// Why a file or device was not opened as a disk.
#[derive(Debug, thiserror::Error)]
pub enum FileDiskError {
    /// It could not be opened.
    ///
    /// A block device that is mounted or otherwise in use is refused by the kernel.
    #[error("cannot open {path} for writing: check that it exists, is not in use, and its permissions")]
    Open {
        /// Which one.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is neither a file nor a block device.
    #[error("{path} is neither a file nor a block device: give the slot's partition or image file")]
    Kind {
        /// Which one.
        path: PathBuf,
    },
}

/// A file or block device as an [`ImageDisk`]. Never creates, truncates or lengthens it.
#[derive(Debug)]
pub struct FileDisk {
    file: File,
    length: u64,
}

impl FileDisk {
    /// Opens an existing file or block device for reading and writing.
    ///
    /// A block device is opened exclusively, so that one with a mounted filesystem, such as the running slot, cannot
    /// be opened at all.
    ///
    /// # Errors
    /// [`FileDiskError`], naming the path.
    pub fn open(path: &Path) -> Result<Self, FileDiskError> {
        let failed = |source| FileDiskError::Open { path: path.to_owned(), source };
        let kind = std::fs::metadata(path).map_err(failed)?.file_type();
        if !kind.is_file() && !kind.is_block_device() {
            return Err(FileDiskError::Kind { path: path.to_owned() });
        }
        let mut options = OpenOptions::new();
        options.read(true).write(true);
        if kind.is_block_device() {
            options.custom_flags(OFlags::EXCL.bits().cast_signed());
        }
        let mut file = options.open(path).map_err(failed)?;
        // By seeking, because a block device's metadata has no length.
        let length = file.seek(SeekFrom::End(0)).map_err(failed)?;
        Ok(Self { file, length })
    }

    fn check_range(&self, offset: u64, bytes: usize) -> io::Result<()> {
        let end = offset.saturating_add(bytes as u64);
        if end > self.length {
            let past = PastEnd { offset, end, length: self.length };
            return Err(io::Error::new(io::ErrorKind::InvalidInput, past));
        }
        Ok(())
    }
}

impl ImageDisk for FileDisk {
    fn length(&mut self) -> io::Result<u64> {
        Ok(self.length)
    }

    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.check_range(offset, bytes.len())?;
        self.file.write_all_at(bytes, offset)
    }

    fn read_at(&mut self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        self.check_range(offset, buf.len())?;
        self.file.read_exact_at(buf, offset)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.file.sync_all()
    }

    /// Syncs, then asks the kernel to forget its cached pages (`POSIX_FADV_DONTNEED`).
    ///
    /// Drops clean pages that no other process uses, so that reads go to the device again.
    /// Pages mapped or locked by another process stay, and the kernel does not say so. A file on tmpfs has no other
    /// medium than these pages. The drive's own cache is beyond reach: `sync` makes it flush, but a drive may still
    /// answer a read from it.
    fn drop_caches(&mut self) -> io::Result<()> {
        self.file.sync_all()?;
        fadvise(&self.file, 0, None, Advice::DontNeed)?;
        Ok(())
    }
}
