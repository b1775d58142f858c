//! What the programs ask of a BitTorrent client.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use fleet_types::InfoHash;

use crate::{PieceSet, TorrentError};

/// A BitTorrent client that fetches and serves torrents. Every method may be called concurrently and may be
/// dropped at any await without leaving a torrent stopped or half added.
#[async_trait]
pub trait Engine: Send + Sync {
    /// Name and version of the client. Cheap: readiness checks use it.
    async fn info(&self) -> Result<EngineInfo, EngineError>;

    /// Adds a torrent whose content lies, or will lie, in `folder` (absolute), and starts it. Content that is there
    /// already is verified and kept. Idempotent: a torrent that is there already is started if it was stopped, and
    /// takes the new folder and trackers if they differ.
    async fn add(&self, torrent: &[u8], folder: &Path) -> Result<InfoHash, EngineError>;

    /// How a torrent is doing; `None` if the client does not have it.
    async fn status(&self, hash: &InfoHash) -> Result<Option<TorrentStatus>, EngineError>;

    /// The pieces that are held and verified; `None` if the client does not have the torrent.
    async fn pieces(&self, hash: &InfoHash) -> Result<Option<PieceSet>, EngineError>;

    /// The peers connected now; empty if the client does not have the torrent.
    async fn peers(&self, hash: &InfoHash) -> Result<Vec<Peer>, EngineError>;

    /// Every torrent the client has, in order of their hashes.
    async fn list(&self) -> Result<Vec<InfoHash>, EngineError>;

    /// Those of [`Engine::list`] that stand still or hold less than everything, but for those that are being verified.
    async fn not_seeding(&self) -> Result<Vec<InfoHash>, EngineError>;

    /// Tells the trackers about this torrent now, whatever their interval, and so learns of peers now. A torrent
    /// that is being verified is left alone: it announces itself when that is done.
    async fn announce(&self, hash: &InfoHash) -> Result<(), EngineError>;

    /// Sets the rates of the whole client.
    async fn set_limits(&self, limits: Limits) -> Result<(), EngineError>;

    /// Hashes the content on disk again. Returns at once; see [`TorrentStatus::verifying`].
    async fn verify(&self, hash: &InfoHash) -> Result<(), EngineError>;

    /// Refuses these addresses and no others from now on, for every torrent: no new connections are made with them.
    /// Existing connections stay until their torrent is announced or added again. Survives the client's restart.
    async fn refuse(&self, addresses: &BTreeSet<IpAddr>) -> Result<(), EngineError>;

    /// Serves a torrent again to a peer that had everything and lost it; the content stays.
    ///
    /// Call it when a peer reports that it no longer holds what it had completely. An engine that serves such a peer
    /// anyway does nothing, as this default does. An engine that takes it for a seed and hangs up forgets the torrent
    /// and adds it again, which verifies the content once. Idempotent: repeating it costs a
    /// verification and nothing else, so a caller may record the request durably and delete it only after success.
    async fn peer_lost_content(&self, torrent: &[u8], folder: &Path) -> Result<(), EngineError> {
        let _ = (torrent, folder);
        Ok(())
    }

    /// Forgets a torrent, and deletes its content if told so. Idempotent.
    async fn remove(&self, hash: &InfoHash, delete_data: bool) -> Result<(), EngineError>;
}

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
    /// Everything is held and verified, and no verification is running.
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
    /// What the client or a tracker complains of, in their words. For people: with one of two trackers out of reach,
    /// or none and peers known already, the torrent may be doing well all the same.
    pub trouble: Option<String>,
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

/// Why the client did not do what was asked.
///
/// Every variant says what failed and where. What to do about it is the engine's `remedy`: only an engine knows its
/// client's programs, files and commands.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// The settings cannot make a client.
    #[error("`{url}` is not a valid address of a BitTorrent daemon: {remedy}")]
    BadSettings {
        /// The address as configured.
        url: String,
        /// What to do.
        remedy: &'static str,
        /// What is wrong with it.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The client cannot be reached.
    #[error("no BitTorrent daemon answers at {url}: {remedy}")]
    Unreachable {
        /// Where.
        url: String,
        /// What was asked.
        operation: &'static str,
        /// What to do.
        remedy: &'static str,
        /// The error of the connection.
        source: Box<dyn Error + Send + Sync>,
    },
    /// It took the connection and did not answer in time.
    #[error(
        "the BitTorrent daemon at {url} did not answer {operation} within {} s: {remedy}", timeout.as_secs_f32()
    )]
    Timeout {
        /// Where.
        url: String,
        /// What was asked.
        operation: &'static str,
        /// How long was waited.
        timeout: Duration,
        /// What to do.
        remedy: &'static str,
    },
    /// It does not accept the credentials.
    #[error("the BitTorrent daemon at {url} refuses user `{user}` with this password: {remedy}")]
    Unauthorized {
        /// Where.
        url: String,
        /// As whom.
        user: String,
        /// What to do.
        remedy: &'static str,
    },
    /// It does not accept requests from this address or host name, or after too many wrong passwords.
    #[error("the BitTorrent daemon at {url} refuses every request from here ({reason}): {remedy}")]
    Forbidden {
        /// Where.
        url: String,
        /// Its words.
        reason: String,
        /// What to do.
        remedy: &'static str,
    },
    /// It understood and said no.
    #[error("the BitTorrent daemon at {url} refuses {operation}: {reason}")]
    Refused {
        /// Where.
        url: String,
        /// What was asked.
        operation: &'static str,
        /// Its words.
        reason: String,
    },
    /// What answered does not speak the client's protocol, or not a version we know.
    #[error("the answer to {operation} from {url} is not understood: {remedy}")]
    Protocol {
        /// Where.
        url: String,
        /// What was asked.
        operation: &'static str,
        /// What to do.
        remedy: &'static str,
        /// What could not be understood.
        source: Box<dyn Error + Send + Sync>,
    },
    /// It does not have the torrent.
    #[error("the BitTorrent daemon at {url} does not have torrent {hash}: add it first")]
    NotFound {
        /// Where.
        url: String,
        /// Which.
        hash: InfoHash,
    },
    /// The folder cannot be named to the client.
    #[error("{} must be an absolute path in UTF-8 to hold a torrent's content", path.display())]
    Folder {
        /// Which.
        path: PathBuf,
    },
    /// The torrent file is not valid.
    #[error("the torrent to add cannot be used: fetch or create it again")]
    Torrent(#[source] TorrentError),
}
