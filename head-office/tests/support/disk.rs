//! A small disk of its own, to be filled.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

/// A tmpfs of a fixed size. Unmounted when dropped, also by a panic; needs root.
pub struct SmallDisk {
    folder: TempDir,
}

impl SmallDisk {
    pub fn mount(bytes: u64) -> Self {
        let folder = super::daemons::open_dir();
        let options = format!("size={bytes},mode=755");
        let mount = Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(folder.path()).output();
        let mount = mount.unwrap();
        assert!(mount.status.success(), "{}", String::from_utf8_lossy(&mount.stderr));
        Self { folder }
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    fn filler(&self) -> PathBuf {
        self.folder.path().join("filler")
    }

    pub fn free(&self) -> u64 {
        let stat = rustix::fs::statvfs(self.path()).unwrap();
        stat.f_bavail * stat.f_frsize
    }

    /// Writes until only `left` bytes are free.
    pub fn fill(&self, left: u64) {
        let mut file = File::create(self.filler()).unwrap();
        let page = [0x55; 4096];
        while self.free() > left {
            if file.write_all(&page).is_err() {
                return;
            }
        }
    }

    /// Makes the room free again.
    pub fn clear(&self) {
        std::fs::remove_file(self.filler()).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a process that is just ending may still have files open.
        let _ = Command::new("umount").arg("-l").arg(self.folder.path()).status();
    }
}
