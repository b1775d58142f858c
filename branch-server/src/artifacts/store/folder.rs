//! Artifacts on disk. The engine writes them (under a temporary name until they are complete); this module tells how
//! much room there is, hashes and syncs what is complete, and removes what is to go.
//!
//! It removes only files that are named like an artifact, and never follows a link.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
use fleet_types::Digest;
use service_kit::room;
use sha2::{Digest as _, Sha256};
use swarm::ContentNames;

use crate::artifacts::model::{Disk, Stray};

/// The suffix of a file that is being brought.
const ARRIVING: &str = ".arriving";

/// The suffix of a file that was brought whole and is not in place yet.
const CARRIED: &str = ".carried";

/// How much is read at once, in bytes.
const CHUNK: usize = 1024 * 1024;

/// Why something in the store could not be done.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A file cannot be read.
    #[error("{} cannot be read: check that this program is in the group of the BitTorrent client", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file cannot be written.
    #[error("{} cannot be written: check the free space and the permissions of its folder", path.display())]
    Write {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file cannot be made durable.
    #[error("{} cannot be synced to disk: see the kernel log", path.display())]
    Sync {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file cannot be removed.
    #[error("{} cannot be removed: check the permissions of its folder", path.display())]
    Remove {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The program is stopping.
    #[error("interrupted by shutdown")]
    Interrupted,
}

/// The folder with the artifacts. All methods block.
#[derive(Debug, Clone)]
pub struct Store {
    folder: PathBuf,
    budget_bytes: Option<u64>,
    names: ContentNames,
}

impl Store {
    /// The store in `folder`, an absolute path, into which an engine writes under these names.
    pub fn new(folder: PathBuf, budget_bytes: Option<u64>, names: ContentNames) -> Self {
        Self { folder, budget_bytes, names }
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Where an artifact lies once it is complete.
    pub fn path(&self, artifact: &Digest) -> PathBuf {
        self.folder.join(format!("{artifact}.seg"))
    }

    pub(super) fn carried_path(&self, artifact: &Digest) -> PathBuf {
        self.folder.join(format!("{artifact}.seg{CARRIED}"))
    }

    pub(super) fn arriving_path(&self, artifact: &Digest) -> PathBuf {
        self.folder.join(format!("{artifact}.seg{ARRIVING}"))
    }

    /// The disk as the planner wants it; files of artifacts that `is_known` does not know are strays.
    pub fn disk(&self, is_known: impl Fn(&Digest) -> bool) -> Disk {
        let free_bytes = match room::of(&self.folder) {
            Ok(room) => Some(room.free),
            Err(error) => {
                tracing::debug!(folder = %self.folder.display(), %error, "the room in the store cannot be learned");
                None
            }
        };
        let (strays, carried) = self.look(is_known).unwrap_or_default();
        Disk { free_bytes, budget_bytes: self.budget_bytes, strays, carried }
    }

    /// Finds files without a record, and artifacts that were brought by hand.
    fn look(&self, is_known: impl Fn(&Digest) -> bool) -> io::Result<(Vec<Stray>, BTreeSet<Digest>)> {
        let (mut strays, mut carried) = (Vec::new(), BTreeSet::new());
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            let name = entry.file_name();
            let name = name.to_string_lossy();
            let suffix = [ARRIVING, CARRIED].into_iter().find(|suffix| name.ends_with(suffix));
            let stem = match suffix {
                Some(suffix) => name.strip_suffix(suffix).unwrap_or(&name),
                None => self.names.torrent_of(&name),
            };
            let Some(artifact) = stem.strip_suffix(".seg").and_then(|hex| hex.parse::<Digest>().ok()) else { continue };
            // A file that vanishes between the two looks is not counted.
            let Ok(meta) = entry.metadata() else { continue };
            if !meta.is_file() {
                continue;
            }
            if is_known(&artifact) {
                if suffix == Some(CARRIED) {
                    carried.insert(artifact);
                }
                continue;
            }
            // The space that it takes: an unfinished file is as long as the artifact, but sparse.
            let modified: DateTime<Utc> = meta.modified()?.into();
            strays.push(Stray { artifact, bytes: meta.blocks().saturating_mul(512), modified });
        }
        Ok((strays, carried))
    }

    /// SHA-256 of an artifact's complete file, which is then on its medium and not only in memory.
    ///
    /// # Errors
    /// The file cannot be read or synced, or `stopping` answered true.
    pub fn hash(&self, artifact: &Digest, stopping: &dyn Fn() -> bool) -> Result<Digest, StoreError> {
        let path = self.path(artifact);
        let read = |source| StoreError::Read { path: path.clone(), source };
        let nofollow = rustix::fs::OFlags::NOFOLLOW.bits().cast_signed();
        let mut file = File::options().read(true).custom_flags(nofollow).open(&path).map_err(read)?;
        // Synced first: what is hashed then is what stays.
        file.sync_all().map_err(|source| StoreError::Sync { path: path.clone(), source })?;
        let mut hasher = Sha256::new();
        let mut chunk = vec![0; CHUNK];
        loop {
            if stopping() {
                return Err(StoreError::Interrupted);
            }
            match file.read(&mut chunk).map_err(read)? {
                0 => break,
                n => hasher.update(&chunk[..n]),
            }
        }
        Ok(Digest::new(hasher.finalize().into()))
    }

    /// Removes an artifact's file, complete or not. Idempotent; durable when it returns.
    ///
    /// # Errors
    /// The folder does not let us.
    pub fn evict(&self, artifact: &Digest) -> Result<(), StoreError> {
        let brought = [self.arriving_path(artifact), self.carried_path(artifact)];
        for path in self.names.files(&self.folder, &format!("{artifact}.seg")).into_iter().chain(brought) {
            match fs::remove_file(&path) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(source) => return Err(StoreError::Remove { path, source }),
            }
        }
        self.sync_folder()
    }

    pub(super) fn sync_folder(&self) -> Result<(), StoreError> {
        let sync = |folder: &Path| File::open(folder)?.sync_all();
        sync(&self.folder).map_err(|source| StoreError::Sync { path: self.folder.clone(), source })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn put(path: &Path, bytes: &[u8]) {
        File::create(path).unwrap().write_all(bytes).unwrap();
    }

    const NAMES: ContentNames = ContentNames::with_unfinished(".fetching");

    fn store() -> (tempfile::TempDir, Store) {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(dir.path().to_owned(), None, NAMES);
        (dir, store)
    }

    fn unfinished(store: &Store, artifact: &Digest) -> PathBuf {
        store.folder().join(format!("{artifact}.seg.fetching"))
    }

    fn abc() -> Digest {
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad".parse().unwrap()
    }

    #[test]
    fn a_file_is_hashed_whole() {
        let (_dir, store) = store();
        put(&store.path(&abc()), b"abc");
        assert_eq!(store.hash(&abc(), &|| false).unwrap(), abc());
        assert!(matches!(store.hash(&abc(), &|| true), Err(StoreError::Interrupted)));
    }

    #[test]
    fn a_link_is_not_followed() {
        let (dir, store) = store();
        put(&dir.path().join("elsewhere"), b"abc");
        std::os::unix::fs::symlink(dir.path().join("elsewhere"), store.path(&abc())).unwrap();
        assert!(matches!(store.hash(&abc(), &|| false), Err(StoreError::Read { .. })));
    }

    #[test]
    fn only_artifacts_without_a_record_are_strays() {
        let (dir, store) = store();
        let (known, unknown) = (abc(), Digest::new([7; 32]));
        put(&store.path(&known), b"abc");
        put(&unfinished(&store, &unknown), b"ab");
        put(&dir.path().join("README"), b"not ours");
        put(&dir.path().join("00.seg"), b"no digest");
        let strays = store.disk(|d| *d == known).strays;
        assert_eq!(strays.iter().map(|s| s.artifact).collect::<Vec<_>>(), [unknown]);
    }

    #[test]
    fn evicting_removes_both_names_and_nothing_else_and_may_be_repeated() {
        let (dir, store) = store();
        put(&store.path(&abc()), b"abc");
        put(&unfinished(&store, &abc()), b"ab");
        put(&dir.path().join("README"), b"not ours");
        store.evict(&abc()).unwrap();
        store.evict(&abc()).unwrap();
        let left: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(left, ["README"]);
    }

    #[test]
    fn a_missing_folder_is_unknown_room_and_not_no_room() {
        let store = Store::new("/nonexistent-store".into(), None, NAMES);
        assert_eq!(store.disk(|_| true).free_bytes, None);
    }
}
