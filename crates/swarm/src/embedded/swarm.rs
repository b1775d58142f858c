//! One torrent's swarm: every event becomes actions, without a clock and without input or output.
//!
//! Bounds. By peer: two sets of pieces, at most 64 open requests, 2,048 queued blocks; a peer that queues more is
//! disconnected, because BEP 3 has no refusal and a block that is silently dropped would never come. By torrent:
//! [`Policy::memory`] for pieces that are begun or being verified (at least four), and four failed pieces besides.

mod fetch;
mod serve;
mod state;
mod verdicts;

use std::net::SocketAddr;
use std::time::Duration;

use super::bits::Bits;
use super::events::{Action, Closing, ConnectionId, Event};
use super::peer::Peer;
use super::wire::Message;
use state::REST;
pub use state::{Core, Mode, PeerStatus, Policy};

/// How often peers are asked for more if no event did so.
const REFILL: Duration = Duration::from_millis(20);
/// Connections among peers that hold everything end after so long.
const AT_REST: Duration = Duration::from_secs(60);

impl Core {
    /// Takes an event in and returns what to do, in order. `now` is the time since the engine started.
    pub fn handle(&mut self, event: Event, now: Duration) -> Vec<Action> {
        self.now = self.now.max(now);
        match event {
            Event::Connected { connection, address, upstream } => self.connected(connection, address, upstream),
            Event::Received { connection, message } => self.received(connection, message),
            Event::Sent { connection, block } => self.sent(connection, block),
            Event::Closed { connection } => self.forget_peer(connection),
            Event::Stored { piece } => self.stored(piece),
            Event::Mismatched { piece, bytes } => self.mismatched(piece, bytes),
            Event::NotStored { piece } => self.not_stored(piece),
            Event::Lost { pieces } => self.lost(&pieces),
            Event::Tick => self.tick(),
        }
        self.decide();
        std::mem::take(&mut self.actions)
    }

    fn connected(&mut self, id: ConnectionId, address: SocketAddr, upstream: bool) {
        if self.peers.contains_key(&id) {
            return;
        }
        self.peers.insert(id, Peer::new(address, upstream, self.shape.pieces(), self.now));
        let hides = self.reveal.is_some() && !upstream;
        if !hides && self.picker.held.count() > 0 {
            self.send(id, Message::Bitfield(self.picker.held.to_bitfield()));
        }
        self.send(id, Message::Unchoke);
        if let Some(reveal) = self.reveal.as_mut().filter(|_| hides) {
            reveal.join(id, self.now);
        }
        self.changed = true;
    }

    fn received(&mut self, id: ConnectionId, message: Message) {
        if !self.peers.contains_key(&id) {
            return;
        }
        if let Some(reveal) = &mut self.reveal {
            self.changed |= reveal.settle_peer(id);
        }
        match message {
            Message::KeepAlive | Message::Unknown(_) => {}
            Message::Choke => self.choked(id),
            Message::Unchoke => {
                if let Some(peer) = self.peers.get_mut(&id) {
                    peer.choked = false;
                }
                self.fill(id, true);
            }
            Message::Interested | Message::NotInterested => {
                let interested = message == Message::Interested;
                if let Some(reveal) = &mut self.reveal {
                    reveal.interested(id, interested, self.now);
                }
                self.changed = true;
            }
            Message::Have(piece) => self.have(id, &[piece]),
            Message::Bitfield(bytes) => {
                if self.peers.get(&id).is_some_and(|peer| peer.stated) {
                    return self.close(id, Closing::LateBitfield);
                }
                let pieces: Vec<u32> = Bits::from_bitfield(&bytes, self.shape.pieces()).iter().collect();
                self.have(id, &pieces);
            }
            Message::Request(block) => self.request(id, block),
            Message::Cancel(block) => self.cancel(id, block),
            Message::Piece { piece, begin, data } => self.block(id, piece, begin, &data),
        }
    }

    fn have(&mut self, id: ConnectionId, pieces: &[u32]) {
        if pieces.iter().any(|piece| *piece >= self.shape.pieces()) {
            return self.close(id, Closing::Invalid);
        }
        let Some(peer) = self.peers.get_mut(&id) else { return };
        peer.stated = true;
        for piece in pieces {
            if !peer.have.insert(*piece) {
                continue;
            }
            self.picker.count(*piece, true);
            peer.wanted += u32::from(!self.picker.held.has(*piece));
            if let Some(reveal) = self.reveal.as_mut().filter(|_| !peer.upstream) {
                reveal.have(id, *piece, self.now);
                self.changed = true;
            }
        }
        self.interest(id);
        self.fill(id, false);
    }

    fn tick(&mut self) {
        if let Some(reveal) = &mut self.reveal {
            reveal.tick(self.now, self.queued == 0, self.totals.sent);
            self.changed = true;
        }
        let ids: Vec<ConnectionId> = self.peers.keys().copied().collect();
        if self.is_fetching() && self.now.saturating_sub(self.refilled) >= REFILL {
            self.refilled = self.now;
            ids.iter().for_each(|id| self.wake(*id));
        }
        if self.now.saturating_sub(self.swept) >= REST {
            self.swept = self.now;
            self.sweep(&ids);
        }
    }

    /// Ends connections that have no use any more.
    fn sweep(&mut self, ids: &[ConnectionId]) {
        let all_complete =
            self.is_complete() && self.queued == 0 && self.peers.values().all(|peer| peer.have.is_full());
        if !all_complete {
            self.resting_since = self.now;
        }
        let at_rest = all_complete && self.now.saturating_sub(self.resting_since) >= AT_REST;
        for id in ids {
            if self.peers.get(id).is_some_and(|peer| self.is_dead(peer)) {
                self.close(*id, Closing::Silent);
            } else if at_rest {
                self.close(*id, Closing::AtRest);
            }
        }
    }

    fn decide(&mut self) {
        if !std::mem::take(&mut self.changed) {
            return;
        }
        let Some(reveal) = &mut self.reveal else { return };
        for (connection, piece) in reveal.decide(self.now, &mut self.random) {
            self.actions.push(Action::Send { connection, message: Message::Have(piece) });
        }
    }
}

#[cfg(test)]
#[path = "swarm_tests.rs"]
mod tests;
