//! What the programs ask of a BitTorrent client.

use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use fleet_types::InfoHash;

use crate::content::ContentNames;
use crate::measures::{Measure, Observation, Subject};
use crate::status::{EngineInfo, Limits, Peer, TorrentStatus};
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

    /// Names under which this engine keeps content. By default the torrent's own name only.
    fn content_names(&self) -> ContentNames {
        ContentNames::default()
    }

    /// Looks at what [`Engine::judge`] needs to know of a torrent, and changes nothing. What cannot be learned is left out.
    async fn observe(&self, subject: Subject) -> Observation {
        Observation::of(subject)
    }

    /// Returns what a look calls for, in the order in which to do it. Does nothing else: only [`Engine::tend`] acts.
    ///
    /// Call it once for each look. What is not done is asked for again at a later look; only a report is not. By default
    /// nothing: an engine that finds peers by itself and cannot receive bad data needs no measure.
    fn judge(&self, observation: &Observation) -> Vec<Measure> {
        let _ = observation;
        Vec::new()
    }

    /// Takes one measure that [`Engine::judge`] returned.
    async fn tend(&self, hash: &InfoHash, measure: &Measure) -> Result<(), EngineError> {
        match measure {
            Measure::Announce => self.announce(hash).await,
            Measure::Renew(_) => self.remove(hash, false).await,
            Measure::Report(_) | Measure::Refuse(_) => Ok(()),
        }
    }

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
    /// The engine in this process cannot listen for peers.
    #[error(
        "peers cannot be listened for at {address} ({source}): stop what uses this port, or change the engine's address"
    )]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The engine in this process cannot keep its state.
    #[error("the engine's state in {} cannot be used ({source}): check the folder's owner and free space", path.display())]
    State {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The engine in this process does not have the torrent.
    #[error("the engine does not have torrent {hash}: add it first")]
    Missing {
        /// Which.
        hash: InfoHash,
    },
    /// The torrent file is not valid.
    #[error("the torrent to add cannot be used: fetch or create it again")]
    Torrent(#[source] TorrentError),
}
