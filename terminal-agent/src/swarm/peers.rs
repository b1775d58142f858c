//! Judges who serves the artifact in hand: bad data is reported, its possible sources are refused, and the tracker is
//! asked again when nothing arrives. Pure: what is to be done is returned, and done by [`super::remedies`].

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use fleet_types::InfoHash;
use swarm::{BadData, Guard, Peer, Stalls, TorrentStatus, Watch};
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
    /// What the engine says of it.
    pub status: TorrentStatus,
    /// The connected peers; `None`: not known.
    pub peers: Option<Vec<Peer>>,
    /// The addresses of the branch server, which is never refused.
    ///
    /// Every update comes from there. Looked up only if bad data arrived.
    pub sources: BTreeSet<IpAddr>,
    /// A file of the artifact lies in the engine's folder.
    pub has_file: bool,
    /// When, as time since the machine started.
    pub at: Duration,
}

/// One thing to be done about a torrent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Remedy {
    /// Ask the tracker for peers again.
    Announce,
    /// Refuse these addresses and no others.
    Refuse(BTreeSet<IpAddr>),
    /// Remove the torrent and keep its content, to add it again.
    Renew,
    /// Report bad data.
    Report(BadData),
}

/// What a look means.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Judgement {
    /// What is to be done, in this order; if one fails, the rest waits for the next look.
    pub remedies: Vec<Remedy>,
    /// The torrent is to be given to the engine again, whatever it says of it.
    pub add_again: bool,
}

/// What earlier looks at torrents showed. Losing it costs time and nothing else.
#[derive(Debug, Default)]
pub struct PeerWatch {
    /// What is known of the peers.
    guard: Guard,
    /// How long each torrent has made no progress.
    stalls: Stalls,
    /// Torrents that the engine had nothing of, and was made to look for on the disk.
    looked_for: BTreeSet<InfoHash>,
    /// Looks at a torrent that the engine stopped with an error.
    stopped_looks: u32,
}

impl PeerWatch {
    /// Judges one look. To be called once for each.
    pub fn judge(&mut self, look: &TorrentLook) -> Judgement {
        let TorrentLook { artifact, status, .. } = look;
        let hash = &artifact.info_hash;
        if self.is_forgotten(look) {
            tracing::info!(artifact = %artifact.sha256, "the engine reports nothing of a file on the disk: it is verified");
            return Judgement { add_again: true, ..Judgement::default() };
        }
        let mut remedies = Vec::new();
        if self.stalls.look(hash, status, look.at) {
            remedies.push(Remedy::Announce);
        }
        if let Some(peers) = &look.peers {
            let watch = Watch { hash, status, sources: &look.sources, at: look.at };
            let judged = self.guard.judge(watch, peers);
            remedies.extend(judged.report.map(Remedy::Report));
            remedies.extend(judged.refuse.map(Remedy::Refuse));
            remedies.extend(judged.renew.then_some(Remedy::Renew));
        }
        Judgement { remedies, add_again: false }
    }

    /// Notes that a remedy was applied: it is not asked for again.
    pub fn applied(&mut self, hash: &InfoHash, remedy: Remedy) {
        match remedy {
            Remedy::Refuse(addresses) => self.guard.refusing(addresses),
            Remedy::Renew => self.guard.renewed(hash),
            Remedy::Announce | Remedy::Report(_) => {}
        }
    }

    /// Whether a stopped torrent is given to the engine again.
    ///
    /// At once if it shows no error, as after a kill; else now and then, as for a disk that was full, so that the error
    /// is seen in between.
    pub fn starts_again(&mut self, status: &TorrentStatus) -> bool {
        if status.running {
            return false;
        }
        self.stopped_looks = if status.trouble.is_some() { self.stopped_looks.wrapping_add(1) } else { 0 };
        self.stopped_looks.is_multiple_of(LOOKS_BEFORE_START)
    }

    /// Whether the engine has and received nothing of an artifact whose file is there.
    ///
    /// An engine saves what it has every few minutes: a power cut can leave it with the torrent and the whole file, and
    /// it would fetch everything again. True once, until it has something.
    fn is_forgotten(&mut self, look: &TorrentLook) -> bool {
        let (status, hash) = (&look.status, look.artifact.info_hash);
        if status.have_bytes > 0 || status.received_bytes > 0 {
            self.looked_for.remove(&hash);
            return false;
        }
        !status.verifying && look.has_file && self.looked_for.insert(hash)
    }
}
