//! What all torrents of one engine share.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddrV4};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fleet_types::InfoHash;
use service_kit::clock::Stopwatch;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinHandle;

use super::command::Command;
use super::connection::Note;
use super::lanes::Lanes;
use super::ledger::Ledger;
use super::net::{Places, Sockets};
use super::networks::{Network, contain};
use super::state::State;
use crate::measures::BadData;
use crate::{EngineRole, Limits};

/// Most reports of bad data that wait for a look at their torrent.
const MAX_REPORTS: usize = 64;

/// What an embedded engine is opened with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EmbeddedSettings {
    /// Where it listens for peers. It dials from the same address unless that is 0.0.0.0.
    pub listen: SocketAddrV4,
    /// The folder of its torrents and of what they hold. It belongs to one engine alone.
    pub state: PathBuf,
    /// The machine it runs on.
    pub role: EngineRole,
    /// The networks of the tier above, across the WAN.
    pub upstream: Vec<Network>,
    /// The networks whose addresses are dialled; `None`: all.
    pub dial: Option<Vec<Network>>,
    /// Most connections.
    pub max_peers: u16,
    /// Rates to and from the WAN.
    pub wan: Limits,
    /// Rates to and from the LAN.
    pub lan: Limits,
    /// DSCP of all packets to peers; 8 (CS1) yields to other traffic.
    pub dscp: u8,
}

impl EmbeddedSettings {
    /// The DSCP of low priority, CS1.
    pub const LOW_PRIORITY: u8 = 8;

    /// The defaults: every address may be dialled, no upstream network, no limits, 400 connections, low priority.
    pub fn new(listen: SocketAddrV4, state: PathBuf, role: EngineRole) -> Self {
        Self {
            listen,
            state,
            role,
            upstream: Vec::new(),
            dial: None,
            max_peers: 400,
            wan: Limits::default(),
            lan: Limits::default(),
            dscp: Self::LOW_PRIORITY,
        }
    }
}

/// How to reach the task of one torrent.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) commands: mpsc::Sender<Command>,
    pub(crate) notes: mpsc::Sender<Note>,
    pub(crate) folder: PathBuf,
    pub(crate) trackers: Vec<Vec<String>>,
    pub(crate) task: JoinHandle<()>,
}

/// The engine, as its torrents see it.
pub(crate) struct Shared {
    pub(crate) settings: EmbeddedSettings,
    /// Where it really listens.
    pub(crate) sockets: Sockets,
    pub(crate) peer_id: [u8; 20],
    pub(crate) clock: Arc<Stopwatch>,
    pub(crate) state: State,
    pub(crate) places: Arc<Places>,
    pub(crate) wan: Arc<Lanes>,
    pub(crate) lan: Arc<Lanes>,
    pub(crate) client: reqwest::Client,
    /// Torrents that are verified at once.
    pub(crate) verifying: Semaphore,
    /// Pieces that are hashed and written at once.
    pub(crate) disk: Semaphore,
    /// Announces under way at once.
    pub(crate) announces: Semaphore,
    ledger: Mutex<Ledger>,
    torrents: Mutex<BTreeMap<InfoHash, Entry>>,
    reports: Mutex<BTreeMap<InfoHash, VecDeque<BadData>>>,
}

impl Shared {
    pub(crate) fn new(settings: EmbeddedSettings, sockets: Sockets, state: State, client: reqwest::Client) -> Self {
        let clock = Arc::new(Stopwatch::start());
        let (wan, lan) = (Arc::new(Lanes::default()), Arc::new(Lanes::default()));
        wan.set(settings.wan, Duration::ZERO);
        lan.set(settings.lan, Duration::ZERO);
        let mut peer_id = *b"-FL0001-............";
        peer_id[8..].copy_from_slice(&rand::random::<[u8; 12]>());
        Self {
            places: Places::new(usize::from(settings.max_peers)),
            settings,
            sockets,
            peer_id,
            clock,
            state,
            wan,
            lan,
            client,
            verifying: Semaphore::new(1),
            disk: Semaphore::new(4),
            announces: Semaphore::new(16),
            ledger: Mutex::default(),
            torrents: Mutex::default(),
            reports: Mutex::default(),
        }
    }

    /// Time since the engine started.
    pub(crate) fn now(&self) -> Duration {
        self.clock.elapsed()
    }

    pub(crate) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn torrents(&self) -> MutexGuard<'_, BTreeMap<InfoHash, Entry>> {
        self.torrents.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn is_upstream(&self, address: IpAddr) -> bool {
        contain(&self.settings.upstream, address)
    }

    /// The rates for this address. Head office's peers are all across the WAN.
    pub(crate) fn lanes(&self, address: IpAddr) -> Arc<Lanes> {
        let wan = self.settings.role == EngineRole::HeadOffice || self.is_upstream(address);
        if wan { self.wan.clone() } else { self.lan.clone() }
    }

    /// Whether this address may be dialled.
    pub(crate) fn may_dial(&self, address: IpAddr) -> bool {
        self.settings.dial.as_ref().is_none_or(|networks| contain(networks, address)) && !self.ledger().refuses(address)
    }

    /// Records who sent bad data. Its address is refused from now on.
    pub(crate) fn blame(&self, hash: InfoHash, address: IpAddr, bytes: u64) {
        self.ledger().blame(address, bytes);
        let mut reports = self.reports.lock().unwrap_or_else(PoisonError::into_inner);
        let reports = reports.entry(hash).or_default();
        if reports.len() < MAX_REPORTS {
            reports.push_back(BadData { wasted_bytes: bytes, candidates: vec![address.to_canonical()], certain: true });
        }
    }

    /// Takes the next report of bad data for a torrent.
    pub(crate) fn report(&self, hash: &InfoHash) -> Option<BadData> {
        self.reports.lock().unwrap_or_else(PoisonError::into_inner).get_mut(hash)?.pop_front()
    }

    /// Drops what waits to be reported of a torrent that is removed.
    pub(crate) fn forget_reports(&self, hash: &InfoHash) {
        self.reports.lock().unwrap_or_else(PoisonError::into_inner).remove(hash);
    }
}
