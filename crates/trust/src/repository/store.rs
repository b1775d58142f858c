//! The repository in a folder: the files that clients fetch. A crash at any instant leaves the old state or the new one.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::Path;

use service_kit::durable;

use super::schema::{MAX_TARGETS, MAX_TIMESTAMP};
use super::{Repository, RoleName};
use crate::refusal::{Refusal, Why, refuse};

/// Most files that a folder may have: many roots, the present state, and what it replaced.
const MAX_FILES: usize = 20_000;

/// As long as this lives, nobody else who asks for it changes the folder.
#[derive(Debug)]
pub struct Lock(#[expect(dead_code, reason = "held open for its lock")] std::fs::File);

/// Waits until nobody else changes the folder: for whoever reads, changes and writes it. Blocking.
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

/// Whether the folder's timestamp is another one than that of `repository`: somebody else published. Blocking.
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
/// The folder cannot be read, or what it holds is no repository whose signatures hold.
pub fn read(folder: &Path) -> Result<Repository, Refusal> {
    Repository::from_files(&read_files(folder)?)
}

/// Writes `repository` into `folder`, the timestamp last, and removes what neither it nor the state before it names, so
/// that a client that is half way through still finds its files. Blocking.
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
        // What cannot be removed is in nobody's way.
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
            return refuse(Why::Storage, format!("{} has more than {MAX_FILES} files.", folder.display()));
        }
        files.insert(name, read_bounded(&entry.path(), MAX_TARGETS)?);
    }
    Ok(files)
}

/// Reads a file of at most `most` bytes.
pub(crate) fn read_bounded(path: &Path, most: u64) -> Result<Vec<u8>, Refusal> {
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(|e| storage(path, &e))?;
    file.take(most + 1).read_to_end(&mut bytes).map_err(|e| storage(path, &e))?;
    if bytes.len() as u64 > most {
        return refuse(Why::TooLarge, format!("{} has more than {most} bytes.", path.display()));
    }
    Ok(bytes)
}

pub(crate) fn storage(path: &Path, error: &dyn std::error::Error) -> Refusal {
    Refusal::new(Why::Storage, format!("{} cannot be used: {error}.", path.display()))
}
