//! The fetching side: requests, blocks and complete pieces.

use std::time::Duration;

use super::state::Core;
use crate::embedded::events::{Action, Closing, ConnectionId};
use crate::embedded::peer::Peer;
use crate::embedded::shape::Block;
use crate::embedded::wire::Message;

/// Open requests without a block for so long: the peer's pieces go to others.
const SILENCE: Duration = Duration::from_secs(1);
/// Open requests without a block for so long: the connection is dead.
const DEAD: Duration = Duration::from_secs(120);

impl Core {
    /// Requests blocks of a peer until its pipeline is full. An idle peer may take a piece over from a slower one.
    pub(super) fn fill(&mut self, id: ConnectionId, may_take_over: bool) {
        let Some(peer) = self.peers.get(&id).filter(|_| self.is_fetching() && self.now >= self.paused_until) else {
            return;
        };
        let depth = peer.depth(self.shape);
        let deep_enough = depth > 8 && peer.open.len() > depth / 2;
        if peer.choked || peer.silent || self.now < peer.rests_until || deep_enough {
            return;
        }
        let mut barred = None;
        while self.peers.get(&id).is_some_and(|peer| peer.open.len() < depth) {
            if self.request_next(id) {
                continue;
            }
            let Some(peer) = self.peers.get(&id).filter(|peer| peer.takes_pieces()) else { return };
            let barred = barred.get_or_insert_with(|| self.barred(id));
            let picked = self.picker.pick(id, peer, barred, &mut self.random, self.now);
            let idle = may_take_over && peer.open.is_empty();
            let taken = picked.or_else(|| idle.then(|| self.take_over(id)).flatten());
            let (Some(piece), Some(peer)) = (taken, self.peers.get_mut(&id)) else { return };
            peer.owned.push(piece);
        }
    }

    /// Requests the next block of the pieces that a peer owns; false if there is none.
    fn request_next(&mut self, id: ConnectionId) -> bool {
        let Some(peer) = self.peers.get_mut(&id) else { return false };
        for piece in &peer.owned {
            let Some(part) = self.picker.parts.get_mut(piece).filter(|part| part.owner == Some(id)) else { continue };
            while let Some(index) = part.request() {
                let block = self.shape.block(*piece, index);
                // Requested earlier, before the piece was released: the peer may still send it.
                if peer.open.contains(&block) {
                    continue;
                }
                peer.requested(block, self.now);
                self.send(id, Message::Request(block));
                return true;
            }
        }
        false
    }

    /// Returns the pieces that must come from one source, and better not from this one.
    fn barred(&self, id: ConnectionId) -> Vec<u32> {
        let better = |piece: u32, other: &ConnectionId, peer: &Peer| {
            *other != id
                && !peer.choked
                && !peer.silent
                && peer.have.has(piece)
                && !self.suspects.includes(piece, *other)
        };
        let barred = |piece: u32| {
            let upstream = self.peers.get(&id).is_some_and(|peer| peer.upstream);
            let others = || self.peers.iter().filter(|(other, peer)| better(piece, other, peer));
            let above = !upstream && others().any(|(_, peer)| peer.upstream);
            above || (self.suspects.includes(piece, id) && others().next().is_some())
        };
        self.picker.whole.iter().copied().filter(|piece| barred(*piece)).collect()
    }

    fn take_over(&mut self, id: ConnectionId) -> Option<u32> {
        let (piece, old) = self.picker.take_over(id, &self.peers, self.now)?;
        if let Some(owner) = self.peers.get_mut(&old) {
            owner.owned.retain(|owned| *owned != piece);
            // Or it would get the next piece at once, and hold that up as well.
            if owner.is_mute(self.now) {
                owner.fell_silent(self.now);
            }
        }
        self.take_back(old, |block| block.piece == piece);
        Some(piece)
    }

    /// Cancels requests of a peer.
    pub(super) fn take_back(&mut self, id: ConnectionId, which: impl Fn(&Block) -> bool) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        for block in peer.take_back(which) {
            self.send(id, Message::Cancel(block));
        }
    }

    pub(super) fn choked(&mut self, id: ConnectionId) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        peer.choked = true;
        peer.take_back(|_| true);
        let owned = std::mem::take(&mut peer.owned);
        owned.iter().for_each(|piece| self.picker.release(*piece, self.now));
    }

    /// Looks at a peer that may have fallen silent or have nothing to do.
    pub(super) fn wake(&mut self, id: ConnectionId) {
        let now = self.now;
        let Some(peer) = self.peers.get_mut(&id) else { return };
        if peer.open.is_empty() {
            peer.silent = false;
        } else if !peer.silent && now.saturating_sub(peer.last) > SILENCE {
            peer.fell_silent(now);
            let owned = std::mem::take(&mut peer.owned);
            owned.iter().for_each(|piece| self.picker.release(*piece, now));
        }
        self.fill(id, true);
    }

    pub(super) fn is_dead(&self, peer: &Peer) -> bool {
        !peer.open.is_empty() && self.now.saturating_sub(peer.last) > DEAD
    }

    pub(super) fn block(&mut self, id: ConnectionId, piece: u32, begin: u32, data: &[u8]) {
        let Ok(length) = u32::try_from(data.len()) else { return };
        let block = Block { piece, begin, length };
        let Some(peer) = self.peers.get_mut(&id) else { return };
        self.totals.received += u64::from(length);
        if !peer.arrived(block, self.now) {
            self.totals.wasted += u64::from(length);
            if peer.unrequested(length) {
                self.close(id, Closing::Unrequested);
            }
            return;
        }
        let from = (id, peer.address);
        let part = self.picker.parts.get_mut(&piece).filter(|part| !part.whole || part.owner == Some(id));
        let Some((part, true)) = part.map(|part| {
            let useful = part.put(self.shape, block, data, from);
            (part, useful)
        }) else {
            self.totals.wasted += u64::from(length);
            peer.counters.wasted += u64::from(length);
            return self.fill(id, true);
        };
        let (owner, complete) = (part.owner, part.is_complete());
        if let Some(owner) = owner.filter(|owner| *owner != id) {
            self.take_back(owner, |open| *open == block);
        }
        if complete {
            self.complete(piece);
        }
        self.fill(id, true);
    }

    /// Hands a complete piece out to be verified.
    fn complete(&mut self, piece: u32) {
        let Some(part) = self.picker.parts.get(&piece) else { return };
        let (owner, contested) = (part.owner, part.contested);
        let Some((bytes, sources)) = self.picker.finish(piece, self.now) else { return };
        if let Some(owner) = owner.and_then(|owner| self.peers.get_mut(&owner)) {
            owner.owned.retain(|owned| *owned != piece);
        }
        for (source, _) in sources.peers() {
            if let Some(peer) = self.peers.get_mut(&source) {
                peer.checking += 1;
            }
        }
        if contested {
            let ids: Vec<ConnectionId> = self.peers.keys().copied().collect();
            ids.iter().for_each(|id| self.take_back(*id, |block| block.piece == piece));
        }
        self.suspects.compare(piece, &bytes);
        self.actions.push(Action::Check { piece, bytes });
    }
}
