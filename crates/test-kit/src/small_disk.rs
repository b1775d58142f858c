//! A small disk of its own, to be filled.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use tempfile::TempDir;

/// A tmpfs of a fixed size. Unmounted when dropped, also by a panic.
#[derive(Debug)]
pub struct SmallDisk {
    folder: TempDir,
}

impl SmallDisk {
    /// Creates an empty disk of `bytes`, readable by every user.
    ///
    /// # Errors
    /// It cannot be mounted, as by another user than root.
    pub fn mount(bytes: u64) -> io::Result<Self> {
        let folder = tempfile::tempdir()?;
        let options = std::ffi::CString::new(format!("size={bytes},mode=755"))?;
        mount("tmpfs", folder.path(), "tmpfs", MountFlags::empty(), options.as_c_str())?;
        Ok(Self { folder })
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    fn filler(&self) -> PathBuf {
        self.folder.path().join("filler")
    }

    /// Bytes that are free.
    ///
    /// # Errors
    /// The system does not say.
    pub fn free(&self) -> io::Result<u64> {
        Ok(service_kit::room::of(self.path())?.free)
    }

    /// Writes until at most `left` bytes are free.
    ///
    /// # Errors
    /// The file that takes the room cannot be written.
    pub fn fill(&self, left: u64) -> io::Result<()> {
        let mut file = File::create(self.filler())?;
        let page = [0x55; 4096];
        while self.free()? > left {
            match file.write_all(&page) {
                Err(error) if error.kind() == io::ErrorKind::StorageFull => return Ok(()),
                written => written?,
            }
        }
        Ok(())
    }

    /// Makes the room free again that [`Self::fill`] took.
    ///
    /// # Errors
    /// It took none.
    pub fn clear(&self) -> io::Result<()> {
        std::fs::remove_file(self.filler())
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a process that is just ending may still have files open.
        let _ = unmount(self.folder.path(), UnmountFlags::DETACH);
    }
}
