//! Files that are whole or absent after a power loss. In a folder with a [`crate::reserve`], also while the disk is full.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::reserve;

/// Why a file could not be made durable.
#[derive(Debug, thiserror::Error)]
pub enum DurableError {
    /// The path has no folder or no file name.
    #[error("{} is not the path of a file", .0.display())]
    NoFileName(PathBuf),
    /// The temporary file could not be written or synced.
    #[error("cannot write {}: check the folder's owner and free space", .path.display())]
    Write {
        /// The temporary file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The temporary file could not be renamed into its place.
    #[error("cannot put {} into its place", .path.display())]
    Rename {
        /// The final path.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The folder could not be synced.
    #[error("cannot sync the folder {}", .path.display())]
    SyncFolder {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// Replaces `path` by `bytes`: temporary file in the same folder, sync, rename, sync of the folder. Blocking.
///
/// # Errors
/// As [`DurableError`]; the old content stays in every case but [`DurableError::SyncFolder`].
pub fn write_file(path: &Path, bytes: &[u8]) -> Result<(), DurableError> {
    write_file_mode(path, bytes, 0o644)
}

/// [`write_file`] for secrets: readable by the owner only. Blocking.
///
/// # Errors
/// As [`write_file`].
pub fn write_secret_file(path: &Path, bytes: &[u8]) -> Result<(), DurableError> {
    write_file_mode(path, bytes, 0o600)
}

fn write_file_mode(path: &Path, bytes: &[u8], mode: u32) -> Result<(), DurableError> {
    use std::os::unix::fs::OpenOptionsExt;
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(DurableError::NoFileName(path.to_owned()));
    };
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    // The random part keeps two writers of one path from sharing a temporary file.
    let temporary = folder.join(format!(".{}.{}.tmp", name.to_string_lossy(), hex::encode(rand::random::<[u8; 6]>())));
    let write = || {
        let written = OpenOptions::new().write(true).create_new(true).mode(mode).open(&temporary);
        let written = written.and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()));
        written.inspect_err(|_| _ = std::fs::remove_file(&temporary))
    };
    let written = match write() {
        Err(error) if is_full(&error) && reserve::give_up(folder) => write(),
        written => written,
    };
    let written = written.map_err(|source| DurableError::Write { path: temporary.clone(), source });
    let written = written.and_then(|()| rename(&temporary, path));
    // What the old content took is free by now, or what could not be written.
    reserve::refill(folder);
    written
}

/// Whether there was no room, or none for this user.
fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Removes the temporary files that a killed process left in `folder`. For the one process that writes there, before it
/// begins. What cannot be removed stays: it does no harm. Blocking.
pub fn sweep(folder: &Path) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        if is_temporary(&entry.file_name().to_string_lossy()) {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

/// Whether a name is one that [`write_file`] gives: `.NAME.` and twelve hexadecimal digits and `.tmp`.
fn is_temporary(name: &str) -> bool {
    let inner = name.strip_prefix('.').and_then(|n| n.strip_suffix(".tmp"));
    let random = inner.and_then(|n| n.rsplit_once('.')).map(|(_, random)| random);
    random.is_some_and(|r| r.len() == 12 && r.bytes().all(|b| b.is_ascii_hexdigit()))
}

/// Renames `from` (already synced) to `to` in the same file system and syncs the folder of `to`. Blocking.
///
/// # Errors
/// The rename or the sync failed.
pub fn rename(from: &Path, to: &Path) -> Result<(), DurableError> {
    std::fs::rename(from, to).map_err(|source| DurableError::Rename { path: to.to_owned(), source })?;
    match to.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => sync_dir(folder),
        _ => sync_dir(Path::new(".")),
    }
}

/// Syncs a folder, so that renames and removals in it last. Blocking.
///
/// # Errors
/// The folder cannot be opened or synced.
pub fn sync_dir(folder: &Path) -> Result<(), DurableError> {
    File::open(folder)
        .and_then(|f| f.sync_all())
        .map_err(|source| DurableError::SyncFolder { path: folder.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn what_a_killed_writer_left_is_swept_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let kept = ["state.json", ".state.json.tmp", ".state.json.0123456789ax.tmp", "a.0123456789ab.tmp"];
        for name in kept.iter().chain(&[".state.json.0123456789ab.tmp", ".a.ffffffffffff.tmp"]) {
            write_file(&dir.path().join(name), b"").unwrap();
        }
        sweep(dir.path());
        let mut left: Vec<_> =
            std::fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        left.sort();
        let mut kept = kept.to_vec();
        kept.sort();
        assert_eq!(left, kept);
    }

    #[test]
    fn a_file_is_replaced_and_no_temporary_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.json");
        write_file(&path, b"one").unwrap();
        write_file(&path, b"two").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"two");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_secret_is_readable_by_its_owner_only() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        write_secret_file(&path, b"t").unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_missing_folder_is_named_in_the_error() {
        let error = write_file(Path::new("/nonexistent-folder/x"), b"").unwrap_err();
        assert!(error.to_string().contains("nonexistent-folder"), "{error}");
    }
}
