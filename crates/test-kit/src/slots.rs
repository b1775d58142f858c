//! Two boot slots as files.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

/// A pair of sparse files that stand for the partitions of slot A and slot B.
#[derive(Debug, Clone)]
pub struct FileSlots {
    /// Slot A.
    pub a: PathBuf,
    /// Slot B.
    pub b: PathBuf,
    /// Length of each in bytes.
    pub length: u64,
}

impl FileSlots {
    /// Makes `slot-a.img` and `slot-b.img` in `folder`, all zeros.
    ///
    /// # Errors
    /// The files cannot be made.
    pub fn create(folder: &Path, length: u64) -> io::Result<Self> {
        let this = Self { a: folder.join("slot-a.img"), b: folder.join("slot-b.img"), length };
        for path in [&this.a, &this.b] {
            File::create_new(path)?.set_len(length)?;
        }
        Ok(this)
    }
}
