//! Judges a look at a torrent beyond what its engine judges: what the engine forgot, and when a stopped torrent starts again.
//! Pure: what is to be done is returned, and done by [`super::remedies`].

use std::collections::{BTreeMap, BTreeSet};

use fleet_types::InfoHash;
use swarm::TorrentStatus;
use swarm::tend::{Measure, Observation};
use wire::v1::plan::ArtifactRef;

/// How many looks a stopped torrent with an error is left alone.
///
/// So the error is seen before the torrent is added again.
const LOOKS_BEFORE_START: u32 = 8;

/// One look at a torrent that is being fetched.
#[derive(Debug, Clone)]
pub struct TorrentLook {
    /// The artifact.
    pub artifact: ArtifactRef,
    /// The torrent and its peers, as the engine sees them.
    pub observation: Observation,
    /// A file of the artifact lies in the engine's folder.
    pub has_file: bool,
}

impl TorrentLook {
    /// What the engine says of the torrent.
    pub fn status(&self) -> &TorrentStatus {
        &self.observation.subject.status
    }
}

/// What a look means.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Judgement {
    /// What is to be done about the peers, in this order.
    pub measures: Vec<Measure>,
    /// The torrent is to be given to the engine again, whatever it says of it.
    pub add_again: bool,
}

/// What earlier looks at torrents showed. Losing it costs time and nothing else.
#[derive(Debug, Default)]
pub struct PeerWatch {
    /// Torrents that the engine had nothing of, and was made to look for on the disk.
    looked_for: BTreeSet<InfoHash>,
    /// Looks at each torrent that the engine stopped with an error.
    stopped_looks: BTreeMap<InfoHash, u32>,
}

impl PeerWatch {
    /// Judges one look, with the engine's judgement of it. To be called once for each.
    pub fn judge(&mut self, look: &TorrentLook, engine: impl FnOnce(&Observation) -> Vec<Measure>) -> Judgement {
        if self.is_forgotten(look) {
            tracing::info!(artifact = %look.artifact.sha256, "the engine reports nothing of a file on the disk: it is verified");
            return Judgement { add_again: true, ..Judgement::default() };
        }
        Judgement { measures: engine(&look.observation), add_again: false }
    }

    /// Whether a stopped torrent is given to the engine again.
    ///
    /// At once if it shows no error, as after a kill; else now and then, as for a disk that was full, so that the error
    /// is seen in between.
    pub fn starts_again(&mut self, look: &TorrentLook) -> bool {
        let (status, hash) = (look.status(), look.artifact.info_hash);
        if status.running || status.trouble.is_none() {
            self.stopped_looks.remove(&hash);
            return !status.running;
        }
        let looks = self.stopped_looks.entry(hash).or_default();
        *looks = looks.wrapping_add(1);
        looks.is_multiple_of(LOOKS_BEFORE_START)
    }

    /// Whether the engine has and received nothing of an artifact whose file is there.
    ///
    /// An engine saves what it has every few minutes: a power cut can leave it with the torrent and the whole file, and
    /// it would fetch everything again. True once, until it has something.
    fn is_forgotten(&mut self, look: &TorrentLook) -> bool {
        let (status, hash) = (look.status(), look.artifact.info_hash);
        if status.have_bytes > 0 || status.received_bytes > 0 {
            self.looked_for.remove(&hash);
            return false;
        }
        !status.verifying && look.has_file && self.looked_for.insert(hash)
    }
}
