//! A whole artifact that is brought by hand: written beside the engine's files, hashed while it arrives, and put in
//! place under its own name only when it is what its digest says.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, fchown};
use std::path::PathBuf;

use fleet_types::Digest;
use sha2::{Digest as _, Sha256};

use super::folder::{Store, StoreError};

/// A file that is being brought. Dropped before it is finished, it is removed.
#[derive(Debug)]
pub struct Arrival {
    store: Store,
    artifact: Digest,
    path: PathBuf,
    file: File,
    hasher: Sha256,
    written: u64,
    finished: bool,
}

impl Arrival {
    /// Bytes that arrived.
    pub const fn written(&self) -> u64 {
        self.written
    }

    /// Adds bytes. Blocking.
    ///
    /// # Errors
    /// The disk does not take them.
    pub fn add(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        let failed = |source| StoreError::Write { path: self.path.clone(), source };
        self.file.write_all(bytes).map_err(failed)?;
        self.hasher.update(bytes);
        self.written += bytes.len() as u64;
        Ok(())
    }

    /// Whether what arrived is the artifact; then it is durable, and waits to be put in place. Otherwise it is gone. Blocking.
    ///
    /// # Errors
    /// The disk does not take it.
    pub fn finish(mut self) -> Result<bool, StoreError> {
        if Digest::new(self.hasher.finalize_reset().into()) != self.artifact {
            return Ok(false);
        }
        self.file.sync_all().map_err(|source| StoreError::Sync { path: self.path.clone(), source })?;
        let carried = self.store.carried_path(&self.artifact);
        fs::rename(&self.path, &carried).map_err(|source| StoreError::Write { path: carried, source })?;
        self.finished = true;
        self.store.sync_folder()?;
        Ok(true)
    }
}

impl Drop for Arrival {
    fn drop(&mut self) {
        if !self.finished {
            // What cannot be removed now is written over by the next try, or removed with the artifact.
            drop(fs::remove_file(&self.path));
        }
    }
}

impl Store {
    /// Begins to take a whole artifact. One at a time for each. Blocking.
    ///
    /// # Errors
    /// The folder does not let us.
    pub fn receive(&self, artifact: &Digest) -> Result<Arrival, StoreError> {
        let path = self.arriving_path(artifact);
        let open = || -> io::Result<File> {
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            let file = File::options().write(true).create_new(true).mode(0o640).open(&path)?;
            // The BitTorrent daemon reads it: the folder's group is its own.
            fchown(&file, None, Some(fs::metadata(self.folder())?.gid()))?;
            Ok(file)
        };
        let file = open().map_err(|source| StoreError::Write { path: path.clone(), source })?;
        let (store, artifact, hasher) = (self.clone(), *artifact, Sha256::new());
        Ok(Arrival { store, artifact, path, file, hasher, written: 0, finished: false })
    }

    /// Puts a file that was brought in the place of whatever the engine has of it; durable when it returns. Idempotent.
    /// Blocking.
    ///
    /// # Errors
    /// The folder does not let us.
    pub fn place(&self, artifact: &Digest) -> Result<(), StoreError> {
        let path = self.path(artifact);
        match fs::rename(self.carried_path(artifact), &path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(StoreError::Write { path, source: error });
            }
            _ => {}
        }
        self.sync_folder()
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "test files need not be durable")]
mod tests {
    use super::*;

    fn store() -> (tempfile::TempDir, Store) {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(dir.path().to_owned(), None, swarm::ContentNames::default());
        (dir, store)
    }

    fn abc() -> Digest {
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad".parse().unwrap()
    }

    #[test]
    fn what_is_brought_whole_takes_the_place_of_what_was_there() {
        let (dir, store) = store();
        fs::write(store.path(&abc()), b"a..").unwrap();
        let mut arrival = store.receive(&abc()).unwrap();
        arrival.add(b"ab").unwrap();
        arrival.add(b"c").unwrap();
        assert_eq!(arrival.written(), 3);
        assert!(arrival.finish().unwrap());
        assert_eq!(store.disk(|_| true).carried.into_iter().collect::<Vec<_>>(), [abc()]);
        for _ in 0..2 {
            store.place(&abc()).unwrap();
            assert_eq!(fs::read(store.path(&abc())).unwrap(), b"abc");
        }
        assert!(store.disk(|_| true).carried.is_empty());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn something_else_or_half_of_it_leaves_nothing() {
        let (dir, store) = store();
        let mut other = store.receive(&abc()).unwrap();
        other.add(b"abd").unwrap();
        assert!(!other.finish().unwrap());
        let mut half = store.receive(&abc()).unwrap();
        half.add(b"ab").unwrap();
        drop(half);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn what_was_brought_goes_with_its_artifact() {
        let (dir, store) = store();
        let mut whole = store.receive(&abc()).unwrap();
        whole.add(b"abc").unwrap();
        assert!(whole.finish().unwrap());
        assert_eq!(store.disk(|_| false).strays.len(), 1, "without a record it is a stray");
        store.evict(&abc()).unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
