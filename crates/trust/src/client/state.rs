//! The client's state between updates: one file, replaced as a whole.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Write as _};
use std::path::Path;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use service_kit::durable;
use tempfile::TempDir;
use tough::schema::Root;

use crate::metadata::content::unsigned;
use crate::metadata::files::{read_bounded, storage};
use crate::metadata::names::RoleName;
use crate::metadata::schema::{File, check_root, holders};
use crate::metadata::trusted::Trusted;
use crate::refusal::{Refusal, Why, refuse};

/// Largest state file in bytes.
const MAX_STATE: u64 = 64 * 1024 * 1024;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct State {
    format: u32,
    /// The newest time ever verified.
    pub floor: DateTime<Utc>,
    /// The root under which it was.
    pub floor_root: u64,
    /// Every root from the pinned one on, each signed by the one before it.
    #[serde(with = "texts")]
    roots: BTreeMap<u64, Vec<u8>>,
    pub accepted: Option<Accepted>,
}

/// What was accepted last, and under which root.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Accepted {
    pub root: u64,
    #[serde(with = "texts")]
    pub files: BTreeMap<String, Vec<u8>>,
}

/// Metadata is JSON, so it is kept as text and the file stays readable.
mod texts {
    use std::collections::BTreeMap;

    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<K, S>(files: &BTreeMap<K, Vec<u8>>, s: S) -> Result<S::Ok, S::Error>
    where
        K: serde::Serialize + Ord,
        S: Serializer,
    {
        let text = |bytes| std::str::from_utf8(bytes).map_err(serde::ser::Error::custom);
        let files: Result<Vec<_>, S::Error> = files.iter().map(|(k, v)| Ok((k, text(v)?))).collect();
        s.collect_map(files?)
    }

    pub fn deserialize<'de, K, D>(d: D) -> Result<BTreeMap<K, Vec<u8>>, D::Error>
    where
        K: Deserialize<'de> + Ord,
        D: Deserializer<'de>,
    {
        let files = BTreeMap::<K, String>::deserialize(d)?;
        Ok(files.into_iter().map(|(k, v)| (k, v.into_bytes())).collect())
    }
}

impl State {
    pub fn begin(root: &[u8], floor: DateTime<Utc>) -> Result<Self, Refusal> {
        let file: File<Root> = File::read(&RoleName::Root, root)?;
        file.signed.signed.verify_role(&file.signed).map_err(unsigned(&RoleName::Root))?;
        check_root(&file.signed.signed)?;
        let roots = BTreeMap::from([(file.version(), root.to_vec())]);
        Ok(Self { format: 1, floor, floor_root: file.version(), roots, accepted: None })
    }

    pub fn read(path: &Path) -> Result<Self, Refusal> {
        let bytes = read_bounded(path, MAX_STATE)?;
        let damaged =
            |what: String| Refusal::new(Why::StoreDamaged, format!("The trust store {} {what}.", path.display()));
        let state: Self = serde_json::from_slice(&bytes).map_err(|e| damaged(format!("is damaged: {e}")))?;
        if state.format != 1 || state.roots.is_empty() {
            return Err(damaged("has an unknown format".to_owned()));
        }
        Ok(state)
    }

    pub fn write(&self, path: &Path) -> Result<(), Refusal> {
        let bytes = serde_json::to_vec(self).map_err(|e| storage(path, &e))?;
        durable::write_file(path, &bytes).map_err(|e| storage(path, &e))
    }

    /// Returns the accepted metadata with its signatures verified again.
    pub fn trusted(&self) -> Result<Option<Trusted>, Refusal> {
        let Some(accepted) = &self.accepted else { return Ok(None) };
        let root = self.roots.get(&accepted.root).map(Vec::as_slice).unwrap_or_default();
        let trusted = Trusted::verify(root, &accepted.files);
        let damaged =
            |r: Refusal| Refusal::new(Why::StoreDamaged, format!("The stored metadata is not valid: {}", r.sentence()));
        trusted.map(Some).map_err(damaged)
    }

    pub fn newest_version(&self) -> u64 {
        self.roots.keys().next_back().copied().unwrap_or_default()
    }

    pub fn newest_root(&self) -> &[u8] {
        self.roots.values().next_back().map(Vec::as_slice).unwrap_or_default()
    }

    pub fn files(&self) -> BTreeMap<String, Vec<u8>> {
        let roots = self.roots.iter().map(|(version, bytes)| (RoleName::Root.file(*version), bytes.clone()));
        roots.chain(self.accepted.iter().flat_map(|a| a.files.clone())).collect()
    }

    /// The files that were accepted, unless their online keys were replaced since.
    pub fn held(&self) -> BTreeMap<String, Vec<u8>> {
        let held = self.accepted.as_ref().filter(|a| self.same_online_keys(a.root));
        held.map(|a| a.files.clone()).unwrap_or_default()
    }

    /// A folder for tough to work in, with the held timestamp and snapshot.
    ///
    /// It compares versions with them.
    pub fn scratch(&self) -> Result<TempDir, Refusal> {
        let folder = tempfile::tempdir().map_err(|e| storage(&std::env::temp_dir(), &e))?;
        for (name, bytes) in self.held() {
            // tough looks for the snapshot under its plain name, without a version.
            let plain = match &name[..] {
                "timestamp.json" => &name,
                _ if name.ends_with(".snapshot.json") => "snapshot.json",
                _ => continue,
            };
            // Gone with the update: it need not be durable.
            let written = std::fs::File::create(folder.path().join(plain)).and_then(|mut f| f.write_all(&bytes));
            written.map_err(|e| storage(folder.path(), &e))?;
        }
        Ok(folder)
    }

    /// Whether the newest root still has the online keys under which metadata was accepted.
    ///
    /// If not, versions signed by the old keys no longer count, so that a fleet recovers from stolen keys (TUF 1.0, 5.3.11).
    fn same_online_keys(&self, accepted: u64) -> bool {
        let keys = |root: &[u8]| -> Option<_> {
            let root = File::<Root>::read(&RoleName::Root, root).ok()?.signed.signed;
            Some((holders(&root, &RoleName::Timestamp).ok()?, holders(&root, &RoleName::Snapshot).ok()?))
        };
        self.roots.get(&accepted).and_then(|root| keys(root)) == keys(self.newest_root())
    }

    /// Adopts the roots up to the newest that tough verified, in `scratch`.
    pub fn take_roots(&mut self, seen: &BTreeMap<String, Vec<u8>>, scratch: &Path) -> Result<(), Refusal> {
        let path = scratch.join("root.json");
        match std::fs::metadata(&path) {
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(()),
            Err(e) => return Err(storage(&path, &e)),
            Ok(_) => {}
        }
        let verified: File<Root> = File::read(&RoleName::Root, &read_bounded(&path, MAX_STATE)?)?;
        for version in self.newest_version() + 1..=verified.version() {
            let Some(bytes) = seen.get(&RoleName::Root.file(version)) else {
                return refuse(Why::MetadataMixed, format!("Root {version} was verified but is missing."));
            };
            // Each of them, and not the newest only: one key that counts twice in between would open the way to it.
            check_root(&File::<Root>::read(&RoleName::Root, bytes)?.signed.signed)?;
            self.roots.insert(version, bytes.clone());
        }
        Ok(())
    }
}
