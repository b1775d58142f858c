//! The folders of head office on one file system: `uploads/` (archives while they arrive and are needed),
//! `artifacts/` (what is seeded), `work/` (encoders' work). And the name of this instance.

use std::fs::{File, TryLockError};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fleet_types::Digest;
use service_kit::durable::{self, DurableError};
use service_kit::room;
use uuid::Uuid;
use wire::v1::plan::ArtifactRef;

use crate::config::StoreSettings;
use crate::store::holds::Holds;

/// Why the store cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A folder cannot be made.
    #[error("cannot make the folder {}: check who owns the folder above it", .path.display())]
    Folder {
        /// Which.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The instance's file cannot be used.
    #[error("cannot use {}", .path.display())]
    Instance {
        /// Which.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Another process has this store.
    #[error("another head office runs with the folder {}: stop it first, or give this one its own", .0.display())]
    InUse(PathBuf),
    /// A file could not be made durable.
    #[error(transparent)]
    Durable(#[from] DurableError),
}

/// The folders. Clones share the claim on them.
#[derive(Debug, Clone)]
pub struct Store {
    folder: PathBuf,
    instance: Uuid,
    holds: Holds,
    // Held open for its lock: two processes must not encode into the same folders.
    _claim: Arc<File>,
}

impl Store {
    /// Makes the folders and claims them for this process. Blocking.
    ///
    /// # Errors
    /// They cannot be made, or another process has them.
    pub fn open(settings: &StoreSettings) -> Result<Self, StoreError> {
        let folder = settings.folder.clone();
        for path in
            ["uploads", "artifacts", "work"].map(|name| folder.join(name)).iter().chain([&settings.state_folder])
        {
            std::fs::create_dir_all(path).map_err(|source| StoreError::Folder { path: path.clone(), source })?;
        }
        let (instance, claim) = claim(&settings.state_folder)?;
        durable::sweep(&settings.state_folder);
        Ok(Self { folder, instance, holds: Holds::default(), _claim: Arc::new(claim) })
    }

    /// The name under which this instance holds leases.
    ///
    /// The same after a restart, so that it finds its own again.
    pub fn instance(&self) -> Uuid {
        self.instance
    }

    /// Who uses which artifact.
    pub fn holds(&self) -> &Holds {
        &self.holds
    }

    /// The folder of all.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Where archives arrive.
    pub fn uploads(&self) -> PathBuf {
        self.folder.join("uploads")
    }

    /// The archive of a release.
    pub fn upload(&self, release: Uuid) -> PathBuf {
        self.uploads().join(format!("{release}.upd"))
    }

    /// Where seeded files lie.
    pub fn artifacts(&self) -> PathBuf {
        self.folder.join("artifacts")
    }

    /// The file of an artifact.
    pub fn artifact(&self, artifact: &ArtifactRef) -> PathBuf {
        self.artifacts().join(artifact.file_name())
    }

    /// Where a payload's encoder works.
    pub fn work(&self, payload: &Digest) -> PathBuf {
        self.folder.join("work").join(payload.to_string())
    }

    /// Where a payload's artifact lies before its own digest is known.
    pub fn encoded(&self, payload: &Digest) -> PathBuf {
        self.folder.join("work").join(format!("{payload}.seg"))
    }

    /// Bytes that an unprivileged program may still write. Blocking.
    ///
    /// # Errors
    /// The file system does not say.
    pub fn free_bytes(&self) -> io::Result<u64> {
        Ok(room::of(&self.folder)?.free)
    }
}

fn claim(folder: &Path) -> Result<(Uuid, File), StoreError> {
    let path = folder.join("instance-id");
    let failed = |source| StoreError::Instance { path: path.clone(), source };
    let mut text = String::new();
    match File::open(&path) {
        Ok(file) => {
            file.take(64).read_to_string(&mut text).map_err(failed)?;
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        Err(source) => return Err(failed(source)),
    }
    let instance = match text.trim().parse() {
        Ok(id) => id,
        Err(_) => {
            let id = Uuid::new_v4();
            durable::write_file(&path, format!("{id}\n").as_bytes())?;
            id
        }
    };
    let lock = File::create(folder.join("lock")).map_err(failed)?;
    match lock.try_lock() {
        Ok(()) => Ok((instance, lock)),
        Err(TryLockError::WouldBlock) => Err(StoreError::InUse(folder.to_owned())),
        Err(TryLockError::Error(source)) => Err(failed(source)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(folder: &Path) -> Result<Store, StoreError> {
        let (seed_for, budget_bytes) = (chrono::TimeDelta::days(3), None);
        let state_folder = folder.join("state");
        Store::open(&StoreSettings { folder: folder.to_owned(), state_folder, seed_for, budget_bytes })
    }

    #[test]
    fn an_instance_keeps_its_name_and_nobody_else_gets_in() {
        let dir = tempfile::tempdir().unwrap();
        let first = open(dir.path()).unwrap();
        assert!(matches!(open(dir.path()), Err(StoreError::InUse(_))));
        let name = first.instance();
        drop(first);
        assert_eq!(open(dir.path()).unwrap().instance(), name);
    }
}
