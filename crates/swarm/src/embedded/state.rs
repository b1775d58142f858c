//! The torrents of an engine below its state folder, so that a restart goes on. Everything here blocks.
//!
//! A torrent is there once its `.json` is; its `.torrent` is written before and deleted after it.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use fleet_types::InfoHash;
use serde::{Deserialize, Serialize};
use service_kit::durable::{self, DurableError};

use crate::torrent::MAX_TORRENT_LEN;

/// What is known of a torrent besides its file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    /// Where its content lies.
    pub(crate) folder: PathBuf,
    /// The sizes of its content.
    pub(crate) length: u64,
    pub(crate) piece_length: u32,
    /// Its trackers, in tiers.
    pub(crate) trackers: Vec<Vec<String>>,
    /// Payload bytes in its life.
    pub(crate) sent: u64,
    pub(crate) received: u64,
    pub(crate) corrupt: u64,
}

/// The state folder.
#[derive(Debug, Clone)]
pub(crate) struct State(PathBuf);

impl State {
    /// Makes the folder if it is missing, and clears what a killed process left.
    pub(crate) fn open(folder: &Path) -> std::io::Result<Self> {
        let torrents = folder.join("torrents");
        fs::create_dir_all(&torrents)?;
        durable::sweep(&torrents);
        Ok(Self(torrents))
    }

    fn path(&self, hash: &InfoHash, kind: &str) -> PathBuf {
        self.0.join(format!("{hash}.{kind}"))
    }

    /// Where the pieces of a torrent are kept.
    pub(crate) fn pieces(&self, hash: &InfoHash) -> PathBuf {
        self.path(hash, "pieces")
    }

    /// The folder itself.
    pub(crate) fn folder(&self) -> &Path {
        &self.0
    }

    /// Keeps a torrent.
    pub(crate) fn add(&self, hash: &InfoHash, torrent: &[u8], record: &Record) -> Result<(), DurableError> {
        durable::write_file(&self.path(hash, "torrent"), torrent)?;
        self.update(hash, record)
    }

    /// Replaces the record of a torrent.
    pub(crate) fn update(&self, hash: &InfoHash, record: &Record) -> Result<(), DurableError> {
        durable::write_file(&self.path(hash, "json"), &serde_json::to_vec(record).unwrap_or_default())
    }

    /// Forgets a torrent.
    pub(crate) fn remove(&self, hash: &InfoHash) -> std::io::Result<()> {
        for kind in ["json", "pieces", "torrent"] {
            match fs::remove_file(self.path(hash, kind)) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    /// Reads the file of a torrent.
    pub(crate) fn torrent(&self, hash: &InfoHash) -> std::io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        fs::File::open(self.path(hash, "torrent"))?.take(MAX_TORRENT_LEN as u64 + 1).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// Reads all records. Damaged ones are passed over: whoever wants such a torrent adds it again.
    pub(crate) fn all(&self) -> std::io::Result<BTreeMap<InfoHash, Record>> {
        let mut all = BTreeMap::new();
        for entry in fs::read_dir(&self.0)? {
            let path = entry?.path();
            if path.extension().is_none_or(|kind| kind != "json") {
                continue;
            }
            let hash = path.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.parse::<InfoHash>().ok());
            let record = fs::read(&path).ok().and_then(|bytes| serde_json::from_slice::<Record>(&bytes).ok());
            match (hash, record) {
                (Some(hash), Some(record)) => {
                    all.insert(hash, record);
                }
                _ => tracing::warn!(path = %path.display(), "a damaged record of a torrent is passed over"),
            }
        }
        Ok(all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    #[test]
    fn torrents_are_kept_until_removed_and_damaged_records_are_passed_over() {
        let dir = tempfile::tempdir().unwrap();
        let state = State::open(dir.path()).unwrap();
        let trackers = vec![vec!["t".to_owned()]];
        let record = |sent| Record {
            folder: "/a".into(),
            length: 10,
            piece_length: 5,
            trackers: trackers.clone(),
            sent,
            received: 2,
            corrupt: 3,
        };
        let hash = |n| InfoHash::new([n; 20]);
        for n in 1..4 {
            state.add(&hash(n), &[n], &record(u64::from(n))).unwrap();
        }
        state.update(&hash(2), &record(9)).unwrap();
        fs::File::create(state.path(&hash(3), "json")).unwrap().write_all(b"{").unwrap();
        let again = State::open(dir.path()).unwrap();
        assert_eq!(again.all().unwrap(), BTreeMap::from([(hash(1), record(1)), (hash(2), record(9))]));
        assert_eq!(again.torrent(&hash(2)).unwrap(), [2]);
        again.remove(&hash(2)).unwrap();
        again.remove(&hash(2)).unwrap();
        assert_eq!(again.all().unwrap().len(), 1);
        assert!(again.torrent(&hash(2)).is_err());
    }
}
