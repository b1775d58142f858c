//! The [`Engine`] over transmission-daemon's RPC.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine as _;
use fleet_types::InfoHash;
use tokio::time::{sleep, timeout};
use transmission_rpc::types::{
    Id, SessionSetArgs, Torrent as RpcTorrent, TorrentAction, TorrentAddArgs, TorrentAddedOrDuplicate,
    TorrentGetField as Field, TorrentStatus as RpcStatus,
};

use super::answers::{has_lost, is_verifying, status, unsigned};
use super::memory::Memory;
use super::rpc::Rpc;
use super::{TransmissionSettings, refused};
use crate::hosts::addresses_of;
use crate::measures::{Duty, Measure, Observation, Subject};
use crate::{ContentNames, Engine, EngineError, EngineInfo, Limits, Peer, PieceSet, Torrent, TorrentStatus};

/// What the daemon appends to the name of a file that is not complete.
const UNFINISHED: &str = ".part";

/// How often to look whether the daemon has stopped a torrent. It does that on a pulse of half a second.
const STOP_POLL: Duration = Duration::from_millis(100);

/// transmission-daemon 3.00 or newer.
///
/// What it reports as held may not be on disk yet unless `cache-size-mb` is 0 (see
/// [`daemon_settings`](crate::daemon_settings)): a reader of an unfinished file treats what does not
/// verify as not yet there.
#[derive(Clone)]
pub struct TransmissionEngine {
    rpc: Arc<Rpc>,
    memory: Arc<Mutex<Memory>>,
}

impl TransmissionEngine {
    /// An engine for the daemon at these settings. Does not connect yet.
    ///
    /// # Errors
    /// If the address is not valid.
    pub fn new(settings: TransmissionSettings) -> Result<Self, EngineError> {
        Ok(Self { rpc: Arc::new(Rpc::new(&settings)?), memory: Arc::default() })
    }

    async fn get(&self, hash: &InfoHash, fields: &[Field]) -> Result<Option<RpcTorrent>, EngineError> {
        let operation = "torrent-get";
        let mut client = self.rpc.client();
        let result = client.torrent_get(Some(fields.to_vec()), Some(vec![id(hash)])).await;
        Ok(self.rpc.settle(operation, client, result).await?.torrents.into_iter().next())
    }

    async fn act(&self, operation: &'static str, action: TorrentAction, hash: &InfoHash) -> Result<(), EngineError> {
        let mut client = self.rpc.client();
        let result = client.torrent_action(action, vec![id(hash)]).await;
        self.rpc.settle(operation, client, result).await.map(|_| ())
    }

    async fn existing(&self, hash: &InfoHash, fields: &[Field]) -> Result<RpcTorrent, EngineError> {
        let found = self.get(hash, fields).await?;
        found.ok_or_else(|| EngineError::NotFound { url: self.rpc.address(), hash: *hash })
    }

    /// Adds; true if the daemon had the torrent already.
    async fn add_once(&self, torrent: &[u8], folder: &str) -> Result<bool, EngineError> {
        let mut client = self.rpc.client();
        let add = TorrentAddArgs {
            metainfo: Some(base64::engine::general_purpose::STANDARD.encode(torrent)),
            download_dir: Some(folder.to_owned()),
            paused: Some(false),
            ..TorrentAddArgs::default()
        };
        let result = client.torrent_add(add).await;
        match self.rpc.settle("torrent-add", client, result).await? {
            TorrentAddedOrDuplicate::TorrentAdded(_) => Ok(false),
            TorrentAddedOrDuplicate::TorrentDuplicate(_) => Ok(true),
            TorrentAddedOrDuplicate::Error => Err(self.rpc.protocol("torrent-add", "neither added nor duplicate")),
        }
    }

    async fn hashes(
        &self,
        fields: Vec<Field>,
        which: impl Fn(&RpcTorrent) -> bool + Send,
    ) -> Result<Vec<InfoHash>, EngineError> {
        let operation = "torrent-get";
        let mut client = self.rpc.client();
        let result = client.torrent_get(Some(fields), None).await;
        let torrents = self.rpc.settle(operation, client, result).await?.torrents;
        let hash = |torrent: RpcTorrent| torrent.hash_string.and_then(|text| text.parse::<InfoHash>().ok());
        let mut hashes: Vec<InfoHash> = torrents
            .into_iter()
            .filter(which)
            .map(|torrent| hash(torrent).ok_or_else(|| self.rpc.protocol(operation, "a torrent without a hash")))
            .collect::<Result<_, _>>()?;
        hashes.sort_unstable();
        Ok(hashes)
    }

    /// Removes a torrent and adds it again, which verifies its content and keeps it.
    async fn replace(&self, hash: InfoHash, torrent: &[u8], folder: &str) -> Result<(), EngineError> {
        let (engine, torrent, folder) = (self.clone(), torrent.to_vec(), folder.to_owned());
        self.to_its_end("torrent-add", async move {
            engine.remove(&hash, false).await?;
            engine.add_once(&torrent, &folder).await.map(drop)
        })
        .await
    }

    /// Runs `work` in its own task: a caller that goes away must not leave a torrent stopped or removed.
    async fn to_its_end<T: Send + 'static>(
        &self,
        operation: &'static str,
        work: impl Future<Output = Result<T, EngineError>> + Send + 'static,
    ) -> Result<T, EngineError> {
        tokio::spawn(work).await.unwrap_or_else(|_| Err(self.rpc.protocol(operation, "the task was cut off")))
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Refuses these addresses and no others from now on, for every torrent: no new connections are made with them.
    ///
    /// Existing connections stay until their torrent is announced or added again. Survives the daemon's restart.
    async fn refuse(&self, addresses: &BTreeSet<IpAddr>) -> Result<(), EngineError> {
        let (engine, list) = (self.clone(), refused::list(addresses));
        self.to_its_end("blocklist-update", async move { engine.set_refused(list).await }).await
    }

    /// The daemon takes a list of refused addresses from a web server only: one is there for as long as it asks.
    async fn set_refused(&self, list: Option<String>) -> Result<(), EngineError> {
        let enabled = list.is_some();
        let mut served = None;
        let mut args = SessionSetArgs { blocklist_enabled: Some(enabled), ..SessionSetArgs::default() };
        if let Some(list) = list {
            let server = refused::serve(list).await.map_err(|e| self.rpc.refused("blocklist-update", e.to_string()))?;
            args.blocklist_url = Some(server.url.clone());
            served = Some(server);
        }
        let mut client = self.rpc.client();
        let result = client.session_set(args).await;
        self.rpc.settle("session-set", client, result).await?;
        if served.is_some() {
            let mut client = self.rpc.client();
            let result = client.blocklist_update().await;
            self.rpc.settle("blocklist-update", client, result).await?;
        }
        Ok(())
    }

    /// Stops and starts a torrent: starting announces at once, while `torrent-reannounce` is silently ignored
    /// until the tracker's minimum interval has passed. A start that arrives before the stop was carried out is lost
    /// and the torrent would stay stopped, so the stop is waited for.
    async fn stop_start(&self, hash: &InfoHash) -> Result<(), EngineError> {
        let status = self.existing(hash, &[Field::Status]).await?.status;
        // Stopping would cancel a verification; the torrent announces itself after it.
        if matches!(status, Some(RpcStatus::QueuedToVerify | RpcStatus::Verifying)) {
            return Ok(());
        }
        if status != Some(RpcStatus::Stopped) {
            self.act("torrent-stop", TorrentAction::Stop, hash).await?;
            // A daemon that does not stop it in time is told to start it all the same.
            if let Ok(seen) = timeout(self.rpc.timeout(), self.stopped(hash)).await {
                seen?;
            }
        }
        self.act("torrent-start-now", TorrentAction::StartNow, hash).await
    }

    /// Returns once the daemon has stopped a torrent.
    async fn stopped(&self, hash: &InfoHash) -> Result<(), EngineError> {
        while self.existing(hash, &[Field::Status]).await?.status != Some(RpcStatus::Stopped) {
            sleep(STOP_POLL).await;
        }
        Ok(())
    }
}

#[async_trait]
impl Engine for TransmissionEngine {
    async fn info(&self) -> Result<EngineInfo, EngineError> {
        let mut client = self.rpc.client();
        let result = client.session_get().await;
        let session = self.rpc.settle("session-get", client, result).await?;
        Ok(EngineInfo { name: "transmission".into(), version: session.version })
    }

    async fn add(&self, torrent: &[u8], folder: &Path) -> Result<InfoHash, EngineError> {
        let parsed = Torrent::parse(torrent).map_err(EngineError::Torrent)?;
        let hash = parsed.info_hash();
        let folder = folder_text(folder)?;
        if !self.add_once(torrent, folder).await? {
            return Ok(hash);
        }
        const FIELDS: &[Field] = &[Field::DownloadDir, Field::Trackers, Field::Status, Field::HaveValid, Field::Error];
        let there = self.existing(&hash, FIELDS).await?;
        // A daemon that was killed before it wrote down what it has comes back with the torrent and nothing of it. One whose
        // file is gone remembers what it had, and neither starts nor verifies the torrent (3.00, 4.0).
        let content = Path::new(folder).join(parsed.name());
        let gone = has_lost(&there) && !tokio::fs::try_exists(&content).await.unwrap_or(true);
        let forgot = !is_verifying(&there) && (gone || there.have_valid.is_none_or(|have| have == 0));
        if there.download_dir.as_deref().is_none_or(|there| same_folder(there, folder))
            && same_trackers(&there, &parsed)
            && !forgot
        {
            if there.status == Some(RpcStatus::Stopped) {
                self.act("torrent-start-now", TorrentAction::StartNow, &hash).await?;
            }
            return Ok(hash);
        }
        // The daemon keeps a duplicate's old folder and trackers, and its calls to change trackers are typed wrongly
        // in the crate. Adding afresh verifies what is there and keeps it.
        self.replace(hash, torrent, folder).await.map(|()| hash)
    }

    async fn status(&self, hash: &InfoHash) -> Result<Option<TorrentStatus>, EngineError> {
        const FIELDS: &[Field] = &[
            Field::HaveValid,
            Field::TotalSize,
            Field::PieceSize,
            Field::Status,
            Field::RateDownload,
            Field::RateUpload,
            Field::UploadedEver,
            Field::DownloadedEver,
            Field::CorruptEver,
            Field::PeersConnected,
            Field::Error,
            Field::ErrorString,
            Field::TrackerStats,
        ];
        Ok(self.get(hash, FIELDS).await?.map(status))
    }

    async fn pieces(&self, hash: &InfoHash) -> Result<Option<PieceSet>, EngineError> {
        let operation = "torrent-get";
        let Some(t) = self.get(hash, &[Field::Pieces, Field::PieceSize, Field::TotalSize]).await? else {
            return Ok(None);
        };
        let (Some(bits), Some(piece_length), Some(length)) = (t.pieces, t.piece_size, t.total_size) else {
            return Err(self.rpc.protocol(operation, "no pieces in the answer"));
        };
        let set = PieceSet::new(bits, piece_length, unsigned(Some(length)));
        set.map(Some).map_err(|e| self.rpc.protocol(operation, e))
    }

    async fn peers(&self, hash: &InfoHash) -> Result<Vec<Peer>, EngineError> {
        let peers = self.get(hash, &[Field::Peers]).await?.and_then(|torrent| torrent.peers).unwrap_or_default();
        let peer = |peer: transmission_rpc::types::Peer| Peer {
            address: SocketAddr::new(peer.address, peer.port),
            client: peer.client_name,
            progress: peer.progress,
            rate_down: peer.rate_to_client,
            rate_up: peer.rate_to_peer,
        };
        Ok(peers.into_iter().map(peer).collect())
    }

    async fn list(&self) -> Result<Vec<InfoHash>, EngineError> {
        self.hashes(vec![Field::HashString], |_| true).await
    }

    async fn not_seeding(&self) -> Result<Vec<InfoHash>, EngineError> {
        let fields = vec![Field::HashString, Field::Status, Field::LeftUntilDone];
        let rests =
            |t: &RpcTorrent| t.status == Some(RpcStatus::Stopped) || t.left_until_done.is_none_or(|left| left > 0);
        self.hashes(fields, |torrent| !is_verifying(torrent) && rests(torrent)).await
    }

    async fn announce(&self, hash: &InfoHash) -> Result<(), EngineError> {
        let (engine, hash) = (self.clone(), *hash);
        self.to_its_end("announce", async move { engine.stop_start(&hash).await }).await
    }

    async fn set_limits(&self, limits: Limits) -> Result<(), EngineError> {
        let mut client = self.rpc.client();
        let args = SessionSetArgs {
            speed_limit_down_enabled: Some(limits.down.is_some()),
            speed_limit_down: limits.down.map(kilobytes),
            speed_limit_up_enabled: Some(limits.up.is_some()),
            speed_limit_up: limits.up.map(kilobytes),
            ..SessionSetArgs::default()
        };
        let result = client.session_set(args).await;
        self.rpc.settle("session-set", client, result).await.map(|_| ())
    }

    async fn verify(&self, hash: &InfoHash) -> Result<(), EngineError> {
        self.existing(hash, &[Field::Id]).await?;
        self.act("torrent-verify", TorrentAction::Verify, hash).await
    }

    fn content_names(&self) -> ContentNames {
        ContentNames::with_unfinished(UNFINISHED)
    }

    async fn observe(&self, subject: Subject) -> Observation {
        let unseen = |error: &EngineError| tracing::debug!(%error, "the peers could not be listed");
        let peers = match subject.duty {
            Duty::Fetch => self.peers(&subject.hash).await.inspect_err(unseen).ok(),
            // Who is served says nothing of who is not.
            Duty::Serve { .. } => None,
        };
        let sources = match subject.status.corrupt_bytes {
            0 => BTreeSet::new(),
            _ => addresses_of(&subject.sources).await,
        };
        Observation { subject, peers, sources }
    }

    fn judge(&self, observation: &Observation) -> Vec<Measure> {
        self.memory().judge(observation)
    }

    async fn tend(&self, hash: &InfoHash, measure: &Measure) -> Result<(), EngineError> {
        match measure {
            Measure::Announce => self.announce(hash).await?,
            Measure::Refuse(addresses) => self.refuse(addresses).await?,
            Measure::Renew(_) => self.remove(hash, false).await?,
            Measure::Report(_) => {}
        }
        self.memory().taken(hash, measure);
        Ok(())
    }

    /// For as long as it has a torrent, 3.00 takes a peer that was complete once for a seed and hangs up on it.
    async fn peer_lost_content(&self, torrent: &[u8], folder: &Path) -> Result<(), EngineError> {
        let hash = Torrent::parse(torrent).map_err(EngineError::Torrent)?.info_hash();
        self.replace(hash, torrent, folder_text(folder)?).await
    }

    async fn remove(&self, hash: &InfoHash, delete_data: bool) -> Result<(), EngineError> {
        let mut client = self.rpc.client();
        let result = client.torrent_remove(vec![id(hash)], delete_data).await;
        self.rpc.settle("torrent-remove", client, result).await.map(|_| ())
    }
}

/// Returns the folder as the daemon takes it.
fn folder_text(folder: &Path) -> Result<&str, EngineError> {
    let text = folder.to_str().filter(|_| folder.is_absolute());
    text.ok_or_else(|| EngineError::Folder { path: folder.to_owned() })
}

fn id(hash: &InfoHash) -> Id {
    Id::Hash(hash.to_string())
}

/// The daemon counts in kilobytes of 1000 bytes. Zero would mean "nothing at all", so at least one.
fn kilobytes(bytes: u64) -> i32 {
    i32::try_from((bytes / 1000).max(1)).unwrap_or(i32::MAX)
}

fn same_folder(a: &str, b: &str) -> bool {
    Path::new(a).components().eq(Path::new(b).components())
}

fn same_trackers(there: &RpcTorrent, wanted: &Torrent) -> bool {
    let there: Option<Vec<&str>> = there.trackers.as_ref().map(|t| t.iter().map(|t| t.announce.as_str()).collect());
    there.is_none_or(|there| there.into_iter().eq(wanted.tiers().iter().flatten().map(String::as_str)))
}
