//! What an engine says of itself, its torrents and their peers.

use std::collections::BTreeMap;
use std::net::SocketAddr;

/// Which client answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineInfo {
    /// Its name, such as `transmission`.
    pub name: String,
    /// Its version as it states it.
    pub version: String,
}

/// How one torrent is doing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TorrentStatus {
    /// Bytes of pieces that are held and whose hash was checked. While `verifying`, not yet checked again.
    pub have_bytes: u64,
    /// Bytes of the whole content.
    pub total_bytes: u64,
    /// Bytes of a piece.
    pub piece_length: u64,
    /// Everything is held and verified, no verification is running, and the client has not met an error on the disk.
    pub complete: bool,
    /// The content on disk is being hashed, or waits for it.
    pub verifying: bool,
    /// Started: fetching, serving or verifying. False if it was stopped (by an error on disk, or by hand), and for a
    /// moment after a verification, until the client starts it again.
    pub running: bool,
    /// Bytes received a second, now.
    pub rate_down: u64,
    /// Bytes sent a second, now.
    pub rate_up: u64,
    /// Payload bytes sent in this torrent's life.
    pub sent_bytes: u64,
    /// Payload bytes received in this torrent's life, corrupt ones included.
    pub received_bytes: u64,
    /// Bytes received whose piece did not match its hash.
    pub corrupt_bytes: u64,
    /// Connected peers.
    pub peers: u32,
    /// By announce URL: how many clients without the whole content the tracker counted at the last announce.
    pub fetching: BTreeMap<String, u32>,
    /// By announce URL: how many clients with the whole content the tracker counted, if it answered the last announce.
    pub serving: BTreeMap<String, u32>,
    /// The announce URLs that the client has for it, in their order.
    pub trackers: Vec<String>,
    /// What the client or a tracker complains of, in their words. For people: with one of two trackers out of reach,
    /// or none and peers known already, the torrent may be doing well all the same.
    pub trouble: Option<String>,
}

impl TorrentStatus {
    /// Whether it announces to this tracker; true of a client that does not say where it announces.
    pub fn announces_to(&self, tracker: &str) -> bool {
        self.trackers.is_empty() || self.trackers.iter().any(|known| known == tracker)
    }
}

/// A connected peer.
#[derive(Debug, Clone, PartialEq)]
pub struct Peer {
    /// Its address; the port may be that of its outgoing connection.
    pub address: SocketAddr,
    /// The client it says it is.
    pub client: String,
    /// The share of the content it says it has, 0 to 1.
    pub progress: f32,
    /// Bytes a second we receive from it.
    pub rate_down: u64,
    /// Bytes a second we send to it.
    pub rate_up: u64,
}

/// Rates of the whole client in bytes a second; `None` is unlimited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Limits {
    /// Receiving.
    pub down: Option<u64>,
    /// Sending.
    pub up: Option<u64>,
}
