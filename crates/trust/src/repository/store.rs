//! The repository in a folder: the files that clients fetch. A crash at any instant leaves the old state or the new one.

use std::collections::BTreeMap;
use std::path::Path;

use service_kit::durable;

use super::state::Repository;
use crate::metadata::files::{read_bounded, storage};
use crate::metadata::names::RoleName;
use crate::metadata::schema::{MAX_TARGETS, MAX_TIMESTAMP};
use crate::refusal::{Refusal, Why, refuse};

/// Most files that a folder may have: many roots, the present state, and what it replaced.
const MAX_FILES: usize = 20_000;

/// An exclusive lock on the folder, held while it lives.
#[derive(Debug)]
pub struct Lock(#[expect(dead_code, reason = "held open for its lock")] std::fs::File);

/// Waits for exclusive access to read, change and write the folder. Blocking.
///
/// # Errors
/// The folder is not there or its lock cannot be taken.
pub fn lock(folder: &Path) -> Result<Lock, Refusal> {
    let path = folder.join(".lock");
    let open = std::fs::OpenOptions::new().write(true).create(true).truncate(false).open(&path);
    let file = open.map_err(|e| storage(&path, &e))?;
    file.lock().map_err(|e| storage(&path, &e))?;
    Ok(Lock(file))
}

/// Whether another process published since `repository` was read. Blocking.
///
/// # Errors
/// It cannot be read.
pub fn has_moved_on(folder: &Path, repository: &Repository) -> Result<bool, Refusal> {
    let found = read_bounded(&folder.join(RoleName::Timestamp.file(0)), MAX_TIMESTAMP)?;
    Ok(repository.timestamp.as_ref().is_none_or(|held| held.bytes != found))
}

/// Reads and verifies the repository in `folder`. Blocking.
///
/// # Errors
/// The folder cannot be read, or its metadata is not validly signed.
pub fn read(folder: &Path) -> Result<Repository, Refusal> {
    Repository::from_files(&read_files(folder)?)
}

/// Writes `repository` into `folder`, the timestamp last. Blocking.
///
/// Removes files that neither it nor the previous state names, so that a client in the middle of an update finds its files.
///
/// # Errors
/// The state is not published as a whole, or the folder cannot be written: what was there stays in force.
pub fn write(folder: &Path, repository: &Repository) -> Result<(), Refusal> {
    let files = repository.files();
    // What would not read back as it is: a change that was accepted and not published, or not yet signed again.
    if Repository::from_files(&files).map(|r| r.files()) != Ok(files.clone()) {
        return refuse(
            Why::RoleUnsigned,
            "The repository has changes that are not published: publish it, then write it.",
        );
    }
    std::fs::create_dir_all(folder).map_err(|e| storage(folder, &e))?;
    let held = read_files(folder)?;
    let before = Repository::from_files(&held).map(|r| r.files()).unwrap_or_default();
    let timestamp = RoleName::Timestamp.file(0);
    let (last, first): (Vec<_>, Vec<_>) = files.iter().partition(|(name, _)| **name == timestamp);
    for (name, bytes) in first.into_iter().chain(last) {
        if held.get(name) != Some(bytes) {
            durable::write_file(&folder.join(name), bytes).map_err(|e| storage(folder, &e))?;
        }
    }
    for name in held.keys().filter(|name| !files.contains_key(*name) && !before.contains_key(*name)) {
        // Leftovers are harmless.
        let _ = std::fs::remove_file(folder.join(name));
    }
    Ok(())
}

/// The metadata files of a folder by name; temporary and other files are passed over.
fn read_files(folder: &Path) -> Result<BTreeMap<String, Vec<u8>>, Refusal> {
    let mut files = BTreeMap::new();
    for entry in std::fs::read_dir(folder).map_err(|e| storage(folder, &e))? {
        let entry = entry.map_err(|e| storage(folder, &e))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with('.') || !name.ends_with(".json") || !entry.path().is_file() {
            continue;
        }
        if files.len() >= MAX_FILES {
            return refuse(Why::Storage, format!("{} contains more than {MAX_FILES} files.", folder.display()));
        }
        files.insert(name, read_bounded(&entry.path(), MAX_TARGETS)?);
    }
    Ok(files)
}
