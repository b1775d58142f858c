//! What the storage says of pieces, and what follows for those that sent them.

use std::net::SocketAddr;
use std::time::Duration;

use super::state::Core;
use crate::embedded::events::{Action, Closing, ConnectionId};
use crate::embedded::part::Sources;
use crate::embedded::wire::Message;

/// The longest pause after the storage failed.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

impl Core {
    pub(super) fn stored(&mut self, piece: u32) {
        let Some(sources) = self.checked(piece, true) else { return };
        (self.failures, self.paused_until) = (0, Duration::ZERO);
        for (source, _) in sources.peers() {
            if let Some(peer) = self.peers.get_mut(&source) {
                peer.proven = true;
            }
        }
        for (id, address, bytes) in self.suspects.stored(piece) {
            self.blame(id, address, piece, bytes);
        }
        if let Some(reveal) = &mut self.reveal {
            reveal.stored(piece, self.now);
            self.changed = true;
        }
        let hides = self.reveal.is_some();
        let ids: Vec<ConnectionId> = self.peers.keys().copied().collect();
        for id in ids {
            let Some(peer) = self.peers.get_mut(&id) else { continue };
            let (upstream, has) = (peer.upstream, peer.have.has(piece));
            peer.wanted -= u32::from(has);
            if upstream || !hides {
                self.send(id, Message::Have(piece));
            }
            if has {
                self.interest(id);
            }
        }
        sources.peers().iter().for_each(|(source, _)| self.fill(*source, true));
        if self.is_complete() {
            self.actions.push(Action::Completed);
        }
    }

    pub(super) fn mismatched(&mut self, piece: u32, bytes: Vec<u8>) {
        let Some(sources) = self.checked(piece, false) else { return };
        self.suspects.failed_again(piece);
        match sources.single() {
            Some((id, address)) => self.blame(id, address, piece, bytes.len() as u64),
            None => {
                self.suspects.keep(piece, bytes, sources);
                self.picker.whole.insert(piece);
            }
        }
    }

    pub(super) fn not_stored(&mut self, piece: u32) {
        if self.checked(piece, false).is_none() {
            return;
        }
        self.suspects.failed_again(piece);
        let pause = Duration::from_secs(1 << self.failures.min(6)).min(LONGEST_PAUSE);
        self.paused_until = self.now + pause;
        self.failures += 1;
    }

    /// Ends a verification.
    fn checked(&mut self, piece: u32, stored: bool) -> Option<Sources> {
        let sources = self.picker.checked(piece, stored)?;
        for (source, _) in sources.peers() {
            if let Some(peer) = self.peers.get_mut(&source) {
                peer.checking = peer.checking.saturating_sub(1);
            }
        }
        Some(sources)
    }

    fn blame(&mut self, id: ConnectionId, address: SocketAddr, piece: u32, bytes: u64) {
        self.totals.corrupt += bytes;
        if let Some(peer) = self.peers.get_mut(&id) {
            peer.counters.corrupt += bytes;
        }
        self.actions.push(Action::Blame { connection: id, address, piece, bytes });
        self.close(id, Closing::Corrupt);
        self.picker.forget(id);
    }

    pub(super) fn lost(&mut self, pieces: &[u32]) {
        for piece in pieces {
            if !self.picker.held.remove(*piece) {
                continue;
            }
            for peer in self.peers.values_mut() {
                peer.wanted += u32::from(peer.have.has(*piece));
            }
            if let Some(reveal) = &mut self.reveal {
                reveal.lost(*piece);
            }
        }
        let ids: Vec<ConnectionId> = self.peers.keys().copied().collect();
        for id in ids {
            self.drop_uploads(id, pieces);
            self.interest(id);
            self.fill(id, false);
        }
        self.changed = true;
    }
}
