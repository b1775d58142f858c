//! The state of one torrent's swarm, and what every side of it uses.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use crate::PieceSet;
use crate::embedded::bits::Bits;
use crate::embedded::events::{Action, Closing, ConnectionId};
use crate::embedded::peer::{Counters, Peer};
use crate::embedded::picker::Picker;
use crate::embedded::random::Random;
use crate::embedded::reveal::Reveal;
use crate::embedded::shape::Shape;
use crate::embedded::suspects::Suspects;
use crate::embedded::wire::Message;

/// How often something is looked at while it moves.
const BUSY: Duration = Duration::from_millis(10);
/// How often at rest.
pub(super) const REST: Duration = Duration::from_secs(1);

/// How pieces are offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Each piece is revealed to one peer first, which passes it on: for a server and peers that exchange.
    Reveal,
    /// Everything is offered to everybody, as any client does.
    Plain,
}

/// How a torrent takes part in its swarm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// How pieces are offered.
    pub mode: Mode,
    /// Missing pieces are fetched.
    pub fetches: bool,
    /// Bytes of pieces that are begun or being verified.
    pub memory: u64,
}

impl Policy {
    /// Of a branch server: fetches from upstream and reveals to its terminals.
    pub const REVEAL: Self = Self { mode: Mode::Reveal, fetches: true, memory: 16 << 20 };
    /// Of a terminal, and of head office towards its branches.
    pub const PLAIN: Self = Self { mode: Mode::Plain, fetches: true, memory: 16 << 20 };
}

/// A connected peer, for people and reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerStatus {
    /// Its address.
    pub address: SocketAddr,
    /// It is of the tier above.
    pub upstream: bool,
    /// Pieces that it says it has.
    pub pieces: u32,
    /// Payload bytes.
    pub counters: Counters,
}

/// The pure core of one torrent.
#[derive(Debug)]
pub struct Core {
    pub(super) shape: Shape,
    pub(super) policy: Policy,
    pub(super) picker: Picker,
    pub(super) reveal: Option<Reveal>,
    pub(super) suspects: Suspects,
    pub(super) peers: BTreeMap<ConnectionId, Peer>,
    pub(super) random: Random,
    pub(super) actions: Vec<Action>,
    pub(super) now: Duration,
    /// The state of the swarm changed, so that the server may reveal more.
    pub(super) changed: bool,
    pub(super) refilled: Duration,
    pub(super) swept: Duration,
    pub(super) resting_since: Duration,
    /// Nothing is fetched before this time, since the storage failed.
    pub(super) paused_until: Duration,
    pub(super) failures: u32,
    pub(super) totals: Counters,
    pub(super) queued: u64,
}

impl Core {
    /// Of a torrent of which `held` is verified.
    pub fn new(shape: Shape, policy: Policy, held: &PieceSet, seed: u64) -> Self {
        let mut bits = Bits::new(shape.pieces());
        bits.insert_all((0..shape.pieces()).filter(|piece| held.has(u64::from(*piece))));
        let reveal = (policy.mode == Mode::Reveal).then(|| Reveal::new(shape, bits.clone()));
        Self {
            shape,
            policy,
            picker: Picker::new(shape, bits, policy.memory),
            reveal,
            suspects: Suspects::default(),
            peers: BTreeMap::new(),
            random: Random::new(seed),
            actions: Vec::new(),
            now: Duration::ZERO,
            changed: false,
            refilled: Duration::ZERO,
            swept: Duration::ZERO,
            resting_since: Duration::ZERO,
            paused_until: Duration::ZERO,
            failures: 0,
            totals: Counters::default(),
            queued: 0,
        }
    }

    /// Returns when the next [`Event::Tick`] is due, from now.
    pub fn next_tick(&self, now: Duration) -> Duration {
        let fetching = self.peers.values().any(|peer| !peer.open.is_empty());
        let revealing = self.reveal.as_ref().is_some_and(Reveal::has_audience);
        if now < self.paused_until {
            return if revealing { BUSY } else { REST.min(self.paused_until.saturating_sub(now)) };
        }
        if fetching || revealing || (self.is_fetching() && !self.peers.is_empty()) { BUSY } else { REST }
    }

    /// Returns the verified pieces.
    pub fn held(&self) -> PieceSet {
        let (piece_length, total) = (u64::from(self.shape.piece_length()), self.shape.total());
        PieceSet::new(self.picker.held.to_bitfield(), piece_length, total)
            .unwrap_or_else(|_| unreachable!("sizes agree"))
    }

    /// Reports if a piece is held.
    pub fn has(&self, piece: u32) -> bool {
        self.picker.held.has(piece)
    }

    /// Reports if everything is held.
    pub fn is_complete(&self) -> bool {
        self.picker.held.is_full()
    }

    /// Returns the payload bytes of all connections, past ones included.
    pub fn totals(&self) -> Counters {
        self.totals
    }

    /// Returns the connected peers.
    pub fn peers(&self) -> impl Iterator<Item = (ConnectionId, PeerStatus)> + '_ {
        self.peers.iter().map(|(id, peer)| {
            let Peer { address, upstream, counters, .. } = *peer;
            (*id, PeerStatus { address, upstream, pieces: peer.have.count(), counters })
        })
    }

    /// Returns the bytes of pieces that are begun or being verified, at their full length.
    pub fn in_memory(&self) -> u64 {
        self.picker.in_memory() as u64 * u64::from(self.shape.piece_length())
    }

    /// Fetches these pieces before others that are as rare, instead of those that were named before.
    pub fn prefer(&mut self, pieces: impl IntoIterator<Item = u32>) {
        self.picker.preferred = Bits::new(self.shape.pieces());
        self.picker.preferred.insert_all(pieces);
    }

    pub(super) fn is_fetching(&self) -> bool {
        self.policy.fetches && !self.is_complete()
    }

    pub(super) fn send(&mut self, connection: ConnectionId, message: Message) {
        self.actions.push(Action::Send { connection, message });
    }

    /// Says if this side is interested, whenever that changes.
    pub(super) fn interest(&mut self, id: ConnectionId) {
        let fetches = self.policy.fetches;
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let interested = fetches && peer.wanted > 0;
        if interested != peer.interested_in {
            peer.interested_in = interested;
            self.send(id, if interested { Message::Interested } else { Message::NotInterested });
        }
    }

    pub(super) fn close(&mut self, id: ConnectionId, why: Closing) {
        if self.peers.contains_key(&id) {
            self.actions.push(Action::Close { connection: id, why });
            self.forget_peer(id);
        }
    }

    pub(super) fn forget_peer(&mut self, id: ConnectionId) {
        let Some(peer) = self.peers.remove(&id) else { return };
        peer.owned.iter().for_each(|piece| self.picker.release(*piece, self.now));
        peer.have.iter().for_each(|piece| self.picker.count(piece, false));
        self.queued -= peer.uploads.len() as u64;
        if let Some(reveal) = &mut self.reveal {
            reveal.leave(id, self.now);
        }
        self.changed = true;
    }
}
