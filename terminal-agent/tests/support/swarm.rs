//! An engine that fetches a few pieces at each look, in a fixed shuffled order. It keeps unfinished content under a name of
//! its own, judges as the test says, and takes only measures that it asked for.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use fleet_types::InfoHash;
use swarm::tend::{Measure, Observation, Subject};
use swarm::{ContentNames, Engine, EngineError, EngineInfo, Limits, Peer, PieceSet, Torrent, TorrentStatus};

use super::world::{Inner, Port, World};

/// What this engine appends to the name of unfinished content.
const UNFINISHED: &str = ".fetching";

pub struct FakeTorrent {
    pub torrent: Torrent,
    folder: PathBuf,
    content: Vec<u8>,
    held: Vec<bool>,
    /// The error that it was stopped with; added again, it runs.
    stopped: Option<String>,
}

impl FakeTorrent {
    fn path(&self, complete: bool) -> PathBuf {
        self.folder.join(if complete {
            self.torrent.name().to_owned()
        } else {
            format!("{}{UNFINISHED}", self.torrent.name())
        })
    }

    fn complete(&self) -> bool {
        self.held.iter().all(|h| *h)
    }

    /// Some more pieces arrive: every third first, so that nothing depends on their order.
    fn fetch(&mut self, pieces: usize, corrupt: Option<u64>) {
        if self.complete() || self.stopped.is_some() {
            return;
        }
        let count = self.held.len();
        let order = (0..3).flat_map(|first| (first..count).step_by(3));
        let wanted: Vec<usize> = order.filter(|p| !self.held[*p]).take(pieces).collect();
        let size = self.torrent.piece_length() as usize;
        let file = File::options().create(true).truncate(false).write(true).open(self.path(false)).unwrap();
        for piece in wanted {
            let range = piece * size..((piece + 1) * size).min(self.content.len());
            file.write_all_at(&self.content[range.clone()], range.start as u64).unwrap();
            self.held[piece] = true;
        }
        if self.complete() {
            if let Some(at) = corrupt {
                file.write_all_at(&[self.content[at as usize] ^ 0x55], at).unwrap();
            }
            std::fs::rename(self.path(false), self.path(true)).unwrap();
        }
    }

    /// Hashes the file again: what is wrong in it is missing from now on.
    fn verify(&mut self) {
        let size = self.torrent.piece_length() as usize;
        let Ok(bytes) = std::fs::read(self.path(true)) else { return };
        for (piece, held) in self.held.iter_mut().enumerate() {
            let range = piece * size..((piece + 1) * size).min(self.content.len());
            *held = bytes.get(range.clone()) == Some(&self.content[range]);
        }
        if !self.complete() {
            std::fs::rename(self.path(true), self.path(false)).unwrap();
        }
    }
}

impl World {
    /// Whether some torrent is complete.
    pub fn daemon_has_everything(&self) -> bool {
        self.lock().torrents.values().any(FakeTorrent::complete)
    }

    /// The daemon comes back with its torrents and, of what is on the disk, nothing.
    pub fn daemon_forgets(&self) {
        self.lock().torrents.values_mut().for_each(|t| t.held.fill(false));
    }
}

pub struct FakeSwarm(pub Arc<World>);

impl FakeSwarm {
    fn call<T>(&self, port: Port, effect: impl FnOnce(&mut Inner) -> T) -> Result<T, EngineError> {
        self.0.kill.point();
        if self.0.fails(port) {
            let source = std::io::Error::other("told to fail").into();
            let url = "http://127.0.0.1:9091".into();
            return Err(EngineError::Unreachable { url, operation: "status", remedy: "start it", source });
        }
        let result = effect(&mut self.0.lock());
        self.0.kill.point();
        Ok(result)
    }
}

#[async_trait]
impl Engine for FakeSwarm {
    async fn info(&self) -> Result<EngineInfo, EngineError> {
        Ok(EngineInfo { name: "fake".into(), version: "0".into() })
    }

    async fn add(&self, torrent: &[u8], folder: &Path) -> Result<InfoHash, EngineError> {
        let torrent = Torrent::parse(torrent).unwrap();
        self.call(Port::SwarmAdd, |world| {
            assert_eq!(torrent.tiers(), [[world.tracker.clone()]], "a terminal announces to its own branch only");
            let hash = torrent.info_hash();
            let release = world.releases.iter().find(|r| r.artifact.info_hash == hash).expect("an unknown torrent");
            let content = release.artifact_bytes.clone();
            let held = vec![false; torrent.piece_count() as usize];
            let added =
                FakeTorrent { torrent: torrent.clone(), folder: folder.to_owned(), content, held, stopped: None };
            world.adds += 1;
            let added = world.torrents.entry(hash).or_insert(added);
            (added.stopped, added.torrent) = (None, torrent);
            // Content that is there already is verified and kept.
            if added.path(true).exists() {
                added.held.fill(true);
                added.verify();
            }
            hash
        })
    }

    async fn status(&self, hash: &InfoHash) -> Result<Option<TorrentStatus>, EngineError> {
        self.call(Port::SwarmStatus, |world| {
            let (pieces, corrupt) = (world.pieces_a_look, world.corrupt_next);
            let stops_with = world.stops_with.clone();
            let torrent = world.torrents.get_mut(hash)?;
            torrent.stopped = stops_with.or(torrent.stopped.take());
            torrent.fetch(pieces, corrupt);
            let (complete, total) = (torrent.complete(), torrent.content.len() as u64);
            let (held, piece) =
                (torrent.held.iter().filter(|h| **h).count() as u64, u64::from(torrent.torrent.piece_length()));
            if complete && pieces > 0 {
                world.corrupt_next = None;
            }
            Some(TorrentStatus {
                have_bytes: if complete { total } else { held * piece },
                total_bytes: total,
                complete,
                running: torrent.stopped.is_none(),
                trouble: torrent.stopped.clone(),
                peers: 1,
                trackers: torrent.torrent.tiers().concat(),
                ..TorrentStatus::default()
            })
        })
    }

    async fn pieces(&self, hash: &InfoHash) -> Result<Option<PieceSet>, EngineError> {
        self.call(Port::SwarmPieces, |world| {
            let torrent = world.torrents.get(hash)?;
            let mut bits = vec![0u8; torrent.held.len().div_ceil(8)];
            for (piece, _) in torrent.held.iter().enumerate().filter(|(_, held)| **held) {
                bits[piece / 8] |= 0x80 >> (piece % 8);
            }
            let lengths = (u64::from(torrent.torrent.piece_length()), torrent.content.len() as u64);
            Some(PieceSet::new(bits, lengths.0, lengths.1).unwrap())
        })
    }

    async fn peers(&self, _: &InfoHash) -> Result<Vec<Peer>, EngineError> {
        Ok(Vec::new())
    }

    async fn not_seeding(&self) -> Result<Vec<InfoHash>, EngineError> {
        Ok(Vec::new())
    }

    async fn list(&self) -> Result<Vec<InfoHash>, EngineError> {
        Ok(self.0.lock().torrents.keys().copied().collect())
    }

    async fn announce(&self, _: &InfoHash) -> Result<(), EngineError> {
        Ok(())
    }

    async fn set_limits(&self, _: Limits) -> Result<(), EngineError> {
        Ok(())
    }

    async fn verify(&self, hash: &InfoHash) -> Result<(), EngineError> {
        self.call(Port::SwarmVerify, |world| {
            world.verifies += 1;
            world.torrents.get_mut(hash).expect("verified before it was added").verify();
        })
    }

    fn content_names(&self) -> ContentNames {
        ContentNames::with_unfinished(UNFINISHED)
    }

    async fn observe(&self, subject: Subject) -> Observation {
        self.0.lock().subjects.push(subject.clone());
        Observation::of(subject)
    }

    fn judge(&self, observation: &Observation) -> Vec<Measure> {
        let mut world = self.0.lock();
        let looked = world.subjects.iter().rposition(|subject| subject.hash == observation.subject.hash);
        world.subjects.remove(looked.expect("judged without a look"));
        let judged = world.judgements.pop_front().unwrap_or_default();
        world.pending.extend(judged.iter().map(|measure| (observation.subject.hash, measure.clone())));
        judged
    }

    async fn tend(&self, hash: &InfoHash, measure: &Measure) -> Result<(), EngineError> {
        let measure = (*hash, measure.clone());
        self.call(Port::SwarmTend, |world| {
            let asked = world.pending.iter().position(|pending| *pending == measure);
            world.pending.remove(asked.expect("a measure that the engine did not ask for"));
            if matches!(measure.1, Measure::Renew(_)) {
                world.torrents.remove(hash);
            }
            world.measures.push(measure.1);
        })
    }

    async fn remove(&self, hash: &InfoHash, delete_data: bool) -> Result<(), EngineError> {
        self.call(Port::SwarmRemove, |world| {
            if let Some(torrent) = world.torrents.remove(hash)
                && delete_data
            {
                let _ = std::fs::remove_file(torrent.path(true));
                let _ = std::fs::remove_file(torrent.path(false));
            }
        })
    }
}
