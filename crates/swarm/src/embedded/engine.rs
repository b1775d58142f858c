//! The [`Engine`] in this process.

use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use fleet_types::InfoHash;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::command::Command;
use super::connection::{Joined, Note};
use super::ledger::Source;
use super::net::{HANDSHAKE, Place, Sockets, read_handshake};
use super::shared::{EmbeddedSettings, Entry, Shared};
use super::state::{Record, State};
use super::task::Task;
use super::{Handshake, Shape};
use crate::measures::{Measure, Observation};
use crate::torrent::Torrent;
use crate::{Engine, EngineError, EngineInfo, Limits, Peer, PieceSet, TorrentStatus};

/// Notes of peers that wait for a torrent. Each may hold a block: at most 1 MiB.
const NOTES: usize = 64;
const COMMANDS: usize = 16;
/// How long to wait after the listener failed, as without free descriptors.
const LISTENER_PAUSE: Duration = Duration::from_millis(100);
/// How long a tracker may take, besides the limit of one announce.
const HTTP: Duration = Duration::from_secs(10);

/// Filial's own BitTorrent engine.
///
/// Its torrents end when it is dropped; [`EmbeddedEngine::close`] waits for that.
pub struct EmbeddedEngine {
    shared: Arc<Shared>,
    listener: JoinHandle<()>,
    /// Torrents are added and removed one at a time.
    changes: Arc<Semaphore>,
}

impl EmbeddedEngine {
    /// Listens, and goes on with the torrents of its state folder. Blocking; within a tokio runtime.
    ///
    /// # Errors
    /// The address cannot be listened at, or the state folder cannot be used.
    pub fn open(settings: EmbeddedSettings) -> Result<Self, EngineError> {
        let folder = settings.state.clone();
        let state = |source: io::Error| EngineError::State { path: folder.clone(), source: source.into() };
        let listen = |source: io::Error| EngineError::Listen { address: settings.listen.into(), source };
        let kept = State::open(&settings.state).map_err(state)?;
        let records = kept.all().map_err(state)?;
        let mut sockets = Sockets { listen: settings.listen, dscp: settings.dscp };
        let listener = sockets.listen().map_err(listen)?;
        if let SocketAddr::V4(address) = listener.local_addr().map_err(listen)? {
            sockets.listen.set_port(address.port());
        }
        let mut client =
            reqwest::Client::builder().no_proxy().timeout(HTTP).redirect(reqwest::redirect::Policy::none());
        if !settings.listen.ip().is_unspecified() {
            client = client.local_address(std::net::IpAddr::V4(*settings.listen.ip()));
        }
        let client = client.build().map_err(|error| listen(io::Error::other(error)))?;
        let shared = Arc::new(Shared::new(settings, sockets, kept, client));
        for (hash, record) in records {
            start(&shared, hash, record);
        }
        let listener = tokio::spawn(accept(shared.clone(), listener));
        Ok(Self { shared, listener, changes: Arc::new(Semaphore::new(1)) })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.shared.sockets.listen.into()
    }

    /// Ends all torrents and waits until what they hold is on disk.
    pub async fn close(self) {
        self.listener.abort();
        let entries = std::mem::take(&mut *self.shared.torrents());
        let mut tasks = Vec::new();
        for entry in entries.into_values() {
            tasks.push(entry.task);
        }
        for task in tasks {
            let _ = task.await;
        }
    }

    /// Changes the rates to and from the LAN.
    pub fn set_lan_limits(&self, limits: Limits) {
        self.shared.lan.set(limits, self.shared.now());
    }

    /// Names peers that no tracker has named, such as the branch server.
    ///
    /// # Errors
    /// The engine does not have the torrent.
    pub async fn add_peers(&self, hash: &InfoHash, peers: Vec<std::net::SocketAddrV4>) -> Result<(), EngineError> {
        self.command(hash, Command::Learn(peers)).await
    }

    /// The bytes exchanged with each address since the start, and with all further ones together.
    pub fn bytes_by_source(&self) -> (Vec<(std::net::IpAddr, Source)>, Source) {
        self.shared.ledger().all()
    }

    fn commands(&self, hash: &InfoHash) -> Option<mpsc::Sender<Command>> {
        self.shared.torrents().get(hash).map(|entry| entry.commands.clone())
    }

    async fn ask<T>(&self, hash: &InfoHash, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Option<T> {
        let (answer, answered) = oneshot::channel();
        self.commands(hash)?.send(command(answer)).await.ok()?;
        answered.await.ok()
    }

    async fn command(&self, hash: &InfoHash, command: Command) -> Result<(), EngineError> {
        let missing = || EngineError::Missing { hash: *hash };
        self.commands(hash).ok_or_else(missing)?.send(command).await.map_err(|_| missing())
    }

    /// Runs `work` to its end, after earlier changes: a caller that goes away must not leave a torrent half added.
    async fn change<T: Send + 'static>(
        &self,
        work: impl FnOnce(Arc<Shared>) -> T + Send + 'static,
    ) -> Result<T, EngineError> {
        let (shared, changes) = (self.shared.clone(), self.changes.clone());
        let runtime = tokio::runtime::Handle::current();
        let whole = async move {
            let _turn = changes.acquire().await;
            tokio::task::spawn_blocking(move || {
                let _runtime = runtime.enter();
                work(shared)
            })
            .await
        };
        tokio::spawn(whole).await.and_then(|done| done).map_err(|error| EngineError::State {
            path: self.shared.state.folder().to_owned(),
            source: Box::new(error),
        })
    }
}

impl Drop for EmbeddedEngine {
    fn drop(&mut self) {
        self.listener.abort();
        // Their tasks end when no one can ask them any more.
        self.shared.torrents().clear();
    }
}

/// Starts the task of a torrent. Its sizes were checked when it was added.
fn start(shared: &Arc<Shared>, hash: InfoHash, record: Record) {
    let Some(shape) = Shape::new(record.piece_length, record.length) else { return };
    let (commands, asked) = mpsc::channel(COMMANDS);
    let (notes, noted) = mpsc::channel(NOTES);
    let (folder, trackers) = (record.folder.clone(), record.trackers.clone());
    let task = Task::new(shared.clone(), hash, record, shape, notes.clone());
    let task = tokio::spawn(task.run(asked, noted));
    shared.torrents().insert(hash, Entry { commands, notes, folder, trackers, task });
}

/// Adds a torrent, or brings what is there in line. Returns if it was there as it should be. Blocking.
fn add(shared: &Arc<Shared>, bytes: &[u8], torrent: &Torrent, folder: &Path) -> Result<bool, EngineError> {
    let hash = torrent.info_hash();
    let failed = |source: Box<dyn std::error::Error + Send + Sync>| EngineError::State {
        path: shared.state.folder().to_owned(),
        source,
    };
    let is_same =
        |entry: &Entry| entry.folder == folder && entry.trackers == torrent.tiers() && !entry.task.is_finished();
    if shared.torrents().get(&hash).is_some_and(is_same) {
        return Ok(true);
    }
    let known = shared.state.all().map_err(|error| failed(error.into()))?.remove(&hash);
    stop(shared, &hash, false);
    let (sent, received, corrupt) = known.map_or((0, 0, 0), |record| (record.sent, record.received, record.corrupt));
    let record = Record {
        folder: folder.to_owned(),
        length: torrent.length(),
        piece_length: torrent.piece_length(),
        trackers: torrent.tiers().to_vec(),
        sent,
        received,
        corrupt,
    };
    shared.state.add(&hash, bytes, &record).map_err(|error| failed(error.into()))?;
    start(shared, hash, record);
    Ok(false)
}

/// Ends the task of a torrent and waits for it. Blocking.
fn stop(shared: &Arc<Shared>, hash: &InfoHash, removed: bool) -> Option<Entry> {
    let mut entry = shared.torrents().remove(hash)?;
    let _ = entry.commands.blocking_send(Command::Stop { removed });
    let _ = tokio::runtime::Handle::current().block_on(&mut entry.task);
    Some(entry)
}

/// Forgets a torrent. Blocking.
fn remove(shared: &Arc<Shared>, hash: &InfoHash, delete_data: bool) -> io::Result<()> {
    let torrent =
        if delete_data { shared.state.torrent(hash).ok().and_then(|bytes| Torrent::parse(&bytes).ok()) } else { None };
    let entry = stop(shared, hash, true);
    shared.forget_reports(hash);
    if let (Some(torrent), Some(entry)) = (torrent, entry) {
        let path = entry.folder.join(torrent.name());
        let deleted = if torrent.is_folder() { std::fs::remove_dir_all(&path) } else { std::fs::remove_file(&path) };
        deleted.or_else(|error| if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) })?;
    }
    shared.state.remove(hash)
}

/// Takes connections in. Each has its own task; none waits for another.
async fn accept(shared: Arc<Shared>, listener: TcpListener) {
    loop {
        let (stream, address) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                sleep(LISTENER_PAUSE).await;
                continue;
            }
        };
        let host = address.ip();
        if shared.ledger().refuses(host) {
            shared.ledger().refused(host);
            continue;
        }
        match shared.places.enter(host) {
            Ok(place) => drop(tokio::spawn(welcome(shared.clone(), stream, address, place))),
            Err(why) => {
                tracing::debug!(%address, %why, "a connection was refused");
                shared.ledger().refused(host);
            }
        }
    }
}

/// Exchanges handshakes with a peer that dialled, and hands it to its torrent.
async fn welcome(shared: Arc<Shared>, mut stream: TcpStream, address: SocketAddr, mut place: Place) {
    let greet = async {
        shared.sockets.prepare(&stream)?;
        let theirs = read_handshake(&mut stream).await?;
        let notes = shared.torrents().get(&InfoHash::new(theirs.info_hash)).map(|entry| entry.notes.clone());
        let Some(notes) = notes else { return Err(io::Error::other("not a torrent of this engine")) };
        let ours = Handshake::new(theirs.info_hash, shared.peer_id);
        // Also to itself: the dialling side learns from it that the address is its own.
        tokio::io::AsyncWriteExt::write_all(&mut stream, &ours.encode()).await?;
        if theirs.peer_id == shared.peer_id {
            return Err(io::Error::other("it is this engine itself"));
        }
        Ok((theirs.peer_id, notes))
    };
    match timeout(HANDSHAKE, greet).await {
        Ok(Ok((peer_id, notes))) => {
            place.established();
            let joined = Joined { stream, address, peer_id, dialled: false, place };
            // A torrent that is gone needs no peers.
            let _ = notes.send(Note::Joined(Box::new(joined))).await;
        }
        Ok(Err(error)) => tracing::debug!(%address, %error, "a handshake failed"),
        Err(_) => tracing::debug!(%address, "a handshake took too long"),
    }
}

#[async_trait]
impl Engine for EmbeddedEngine {
    async fn info(&self) -> Result<EngineInfo, EngineError> {
        Ok(EngineInfo { name: "embedded".into(), version: env!("CARGO_PKG_VERSION").into() })
    }

    async fn add(&self, torrent: &[u8], folder: &Path) -> Result<InfoHash, EngineError> {
        let parsed = Torrent::parse(torrent).map_err(EngineError::Torrent)?;
        let hash = parsed.info_hash();
        if !folder.is_absolute() || Shape::new(parsed.piece_length(), parsed.length()).is_none() {
            return Err(EngineError::Folder { path: folder.to_owned() });
        }
        let (bytes, folder) = (torrent.to_vec(), folder.to_owned());
        if self.change(move |shared| add(&shared, &bytes, &parsed, &folder)).await?? {
            self.command(&hash, Command::Compare).await?;
        }
        Ok(hash)
    }

    async fn status(&self, hash: &InfoHash) -> Result<Option<TorrentStatus>, EngineError> {
        Ok(self.ask(hash, Command::Status).await)
    }

    async fn pieces(&self, hash: &InfoHash) -> Result<Option<PieceSet>, EngineError> {
        Ok(self.ask(hash, Command::Pieces).await.flatten())
    }

    async fn peers(&self, hash: &InfoHash) -> Result<Vec<Peer>, EngineError> {
        Ok(self.ask(hash, Command::Peers).await.unwrap_or_default())
    }

    async fn list(&self) -> Result<Vec<InfoHash>, EngineError> {
        Ok(self.shared.torrents().keys().copied().collect())
    }

    async fn not_seeding(&self) -> Result<Vec<InfoHash>, EngineError> {
        let mut rest = BTreeSet::new();
        for hash in self.list().await? {
            if self.ask(&hash, Command::Status).await.is_some_and(|status| !status.verifying && !status.complete) {
                rest.insert(hash);
            }
        }
        Ok(rest.into_iter().collect())
    }

    async fn announce(&self, hash: &InfoHash) -> Result<(), EngineError> {
        self.command(hash, Command::Announce).await
    }

    /// The rates to and from the WAN; [`EmbeddedEngine::set_lan_limits`] sets the others.
    async fn set_limits(&self, limits: Limits) -> Result<(), EngineError> {
        self.shared.wan.set(limits, self.shared.now());
        Ok(())
    }

    async fn verify(&self, hash: &InfoHash) -> Result<(), EngineError> {
        self.command(hash, Command::Verify).await
    }

    /// Bad data was seen and its sender refused when it arrived: what is left is to report it.
    fn judge(&self, observation: &Observation) -> Vec<Measure> {
        self.shared.report(&observation.subject.hash).map(Measure::Report).into_iter().collect()
    }

    async fn remove(&self, hash: &InfoHash, delete_data: bool) -> Result<(), EngineError> {
        let hash = *hash;
        let removed = self.change(move |shared| remove(&shared, &hash, delete_data)).await?;
        removed
            .map_err(|source| EngineError::State { path: self.shared.state.folder().to_owned(), source: source.into() })
    }
}
