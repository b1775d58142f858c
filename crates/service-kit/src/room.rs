//! Room on file systems.

use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use rustix::fs::{StatVfs, fstatvfs, statvfs};

/// Room on a file system, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// In all.
    pub total: u64,
    /// Free for this user.
    pub free: u64,
}

impl From<StatVfs> for Room {
    fn from(stat: StatVfs) -> Self {
        let bytes = |blocks: u64| blocks.saturating_mul(stat.f_frsize);
        Self { total: bytes(stat.f_blocks), free: bytes(stat.f_bavail) }
    }
}

/// Room on the file system that holds `path`. Blocking.
///
/// # Errors
/// The system does not say.
pub fn of(path: &Path) -> io::Result<Room> {
    Ok(statvfs(path)?.into())
}

/// Room on the file system that holds an open file. Blocking.
///
/// # Errors
/// The system does not say.
pub fn of_file(file: impl AsFd) -> io::Result<Room> {
    Ok(fstatvfs(file)?.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_and_an_open_file_are_on_the_same_file_system() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let (by_path, by_file) = (of(file.path()).unwrap(), of_file(file.as_file()).unwrap());
        assert_eq!(by_path.total, by_file.total);
        assert!(by_path.free <= by_path.total && by_path.total > 0);
        of(&file.path().join("none")).unwrap_err();
    }
}
