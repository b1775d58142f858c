//! One torrent: its core, which it feeds with events, and everything that the core does not hold.
//!
//! Everything of a torrent happens in one task, without locks: `run` is its loop, `content` what it does about the disk, `joining` what
//! about peers. Disk and trackers work in jobs beside it, connections in a task each; nothing in it waits for a peer, so that a slow one
//! slows no other.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use fleet_types::InfoHash;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::announce::Trackers;
use super::connection::{Joined, Note};
use super::dials::Dials;
use super::jobs::{self, Check, Done, Loaded};
use super::peers::Peers;
use super::shared::Shared;
use super::state::Record;
use super::verify::Progress;
use super::{Action, ConnectionId, Core, Event, Shape};

/// How long a disk that failed rests, at first and at most.
pub(super) const DISK_FIRST: Duration = Duration::from_secs(1);
pub(super) const DISK_LONGEST: Duration = Duration::from_secs(30);
/// A dialled connection that ended sooner counts as a failure.
const SHORT: Duration = Duration::from_secs(10);
/// How long nothing must happen before the files and the memory of a complete torrent are given back.
pub(super) const AT_REST: Duration = Duration::from_secs(3);

/// What a torrent is at.
pub(super) enum Phase {
    /// Its file is being read.
    Loading,
    /// Its content is being hashed.
    Verifying(Arc<Progress>),
    /// The disk failed; next attempt at this time.
    Failed(Duration),
    Open(Box<Core>),
    /// Complete, and no peer is there.
    Resting,
}

/// One torrent.
pub(crate) struct Task {
    pub(super) shared: Arc<Shared>,
    pub(super) hash: InfoHash,
    pub(super) record: Record,
    pub(super) shape: Shape,
    pub(super) phase: Phase,
    pub(super) loaded: Option<Loaded>,
    pub(super) peers: Peers,
    pub(super) dials: Dials,
    pub(super) trackers: Trackers,
    pub(super) disk_trouble: Option<String>,
    pub(super) disk_failures: u32,
    /// Jobs that end by themselves, soon.
    pub(super) disk: JoinSet<Done>,
    /// Jobs that may be cut off.
    pub(super) net: JoinSet<Done>,
    pub(super) notes_sender: mpsc::Sender<Note>,
    pub(super) follow_ups: VecDeque<Event>,
    pub(super) waiting: Vec<Joined>,
    pub(super) checking: u64,
    pub(super) retries: Vec<(Duration, Check)>,
    pub(super) unflushed: u64,
    pub(super) dirty_since: Option<Duration>,
    pub(super) flushing: bool,
    /// The content is to be compared with what was written down.
    pub(super) compare: bool,
    /// The record as it is on disk.
    pub(super) saved: Record,
    pub(super) tick_at: Duration,
    pub(super) look_at: Duration,
    pub(super) active_at: Duration,
}

impl Task {
    pub(crate) fn new(
        shared: Arc<Shared>,
        hash: InfoHash,
        record: Record,
        shape: Shape,
        notes: mpsc::Sender<Note>,
    ) -> Self {
        let now = shared.now();
        Self {
            hash,
            shape,
            phase: Phase::Loading,
            loaded: None,
            peers: Peers::new(shape.pieces()),
            dials: Dials::default(),
            trackers: Trackers::new(record.trackers.iter().flatten().cloned(), now),
            saved: record.clone(),
            record,
            disk_trouble: None,
            disk_failures: 0,
            disk: JoinSet::new(),
            net: JoinSet::new(),
            notes_sender: notes,
            follow_ups: VecDeque::new(),
            waiting: Vec::new(),
            checking: 0,
            retries: Vec::new(),
            unflushed: 0,
            dirty_since: None,
            flushing: false,
            compare: false,
            tick_at: now,
            look_at: now,
            active_at: now,
            shared,
        }
    }

    pub(super) fn is_complete(&self) -> bool {
        match &self.phase {
            Phase::Open(core) => core.is_complete(),
            Phase::Resting => true,
            Phase::Loading | Phase::Verifying(_) | Phase::Failed(_) => false,
        }
    }

    /// Gives an event to the core and does what it asks for.
    pub(super) fn event(&mut self, event: Event) {
        self.follow_ups.push_back(event);
        while let Some(event) = self.follow_ups.pop_front() {
            let now = self.shared.now();
            let Phase::Open(core) = &mut self.phase else { continue };
            let actions = core.handle(event, now);
            self.tick_at = now + core.next_tick(now);
            for action in actions {
                self.act(action);
            }
        }
    }

    fn act(&mut self, action: Action) {
        let closed = match action {
            Action::Send { connection, message } => self.peers.send(connection, &message),
            Action::Upload { connection, block } => self.peers.upload(connection, block),
            Action::CancelUpload { connection, block } => {
                self.peers.cancel(connection, block);
                None
            }
            Action::Check { piece, bytes } => {
                self.checking += bytes.len() as u64;
                self.check(Check { piece, bytes, failures: 0 });
                None
            }
            Action::Close { connection, why } => {
                tracing::debug!(torrent = %self.hash, connection = connection.0, %why, "a connection is closed");
                self.left_by(connection);
                None
            }
            Action::Blame { address, piece, bytes, .. } => {
                tracing::warn!(torrent = %self.hash, %address, piece, bytes, "a peer sent corrupt data and is refused");
                self.shared.blame(self.hash, address.ip(), bytes);
                self.follow_ups.extend(self.peers.close_address(address.ip()));
                None
            }
            Action::Completed => {
                self.trackers.completed();
                self.dirty_since = Some(Duration::ZERO);
                None
            }
        };
        self.follow_ups.extend(closed);
    }

    pub(super) fn active(&mut self, now: Duration) {
        self.active_at = now;
    }

    pub(super) fn check(&mut self, check: Check) {
        let Some(loaded) = self.loaded.clone() else { return };
        self.disk.spawn(jobs::check(self.shared.clone(), loaded, self.shape, check));
    }

    pub(super) fn have_bytes(&self) -> u64 {
        let held = match &self.phase {
            Phase::Open(core) if core.is_complete() => return self.shape.total(),
            Phase::Open(core) => core,
            Phase::Resting => return self.shape.total(),
            Phase::Verifying(progress) => return progress.checked.load(Ordering::Relaxed),
            Phase::Loading | Phase::Failed(_) => return 0,
        };
        let pieces = (0..self.shape.pieces()).filter(|piece| held.has(*piece));
        pieces.map(|piece| u64::from(self.shape.length_of(piece))).sum()
    }

    pub(super) fn left(&self) -> u64 {
        self.shape.total() - self.have_bytes()
    }

    pub(super) fn disk_pause(&mut self) -> Duration {
        self.disk_failures = self.disk_failures.saturating_add(1);
        service_kit::retry::bound_after(self.disk_failures, DISK_FIRST, DISK_LONGEST)
    }

    /// Ends a connection and forgets it. The core knows already.
    pub(super) fn left_by(&mut self, connection: ConnectionId) {
        let now = self.shared.now();
        if let Some(peer) = self.peers.remove(connection) {
            self.ended(peer.address, peer.dialled, now < peer.since + SHORT, now);
        }
    }

    pub(super) fn ended(&mut self, address: SocketAddr, dialled: bool, failed: bool, now: Duration) {
        if let (true, SocketAddr::V4(address)) = (dialled, address) {
            self.dials.ended(address, failed, now);
        }
    }
}
