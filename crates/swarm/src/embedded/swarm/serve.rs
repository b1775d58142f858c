//! The serving side: requests of peers and their queues.

use super::state::Core;
use crate::embedded::events::{Action, Closing, ConnectionId};
use crate::embedded::peer::MOST_UPLOADS;
use crate::embedded::shape::Block;

impl Core {
    /// Queues a block. Requests for what is not held, or was not revealed to this peer, are passed over.
    pub(super) fn request(&mut self, id: ConnectionId, block: Block) {
        if !self.shape.allows(block) {
            return self.close(id, Closing::Invalid);
        }
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let hidden = !peer.upstream && self.reveal.as_ref().is_some_and(|reveal| !reveal.is_revealed(id, block.piece));
        if hidden || !self.picker.held.has(block.piece) {
            return;
        }
        if peer.uploads.len() >= MOST_UPLOADS {
            return self.close(id, Closing::TooManyRequests);
        }
        peer.uploads.push_back(block);
        self.queued += 1;
        self.actions.push(Action::Upload { connection: id, block });
    }

    pub(super) fn cancel(&mut self, id: ConnectionId, block: Block) {
        if self.unqueue(id, block) {
            self.actions.push(Action::CancelUpload { connection: id, block });
        }
    }

    pub(super) fn sent(&mut self, id: ConnectionId, block: Block) {
        self.totals.sent += u64::from(block.length);
        self.unqueue(id, block);
        let Some(peer) = self.peers.get_mut(&id) else { return };
        peer.counters.sent += u64::from(block.length);
        if let Some(reveal) = &mut self.reveal {
            reveal.sent(id, block, self.now);
        }
    }

    /// Takes the blocks of lost pieces out of a peer's queue.
    pub(super) fn drop_uploads(&mut self, id: ConnectionId, pieces: &[u32]) {
        let Some(peer) = self.peers.get(&id) else { return };
        let gone: Vec<Block> = peer.uploads.iter().copied().filter(|block| pieces.contains(&block.piece)).collect();
        gone.into_iter().for_each(|block| self.cancel(id, block));
    }

    fn unqueue(&mut self, id: ConnectionId, block: Block) -> bool {
        let Some(peer) = self.peers.get_mut(&id) else { return false };
        let Some(at) = peer.uploads.iter().position(|queued| *queued == block) else { return false };
        peer.uploads.remove(at);
        self.queued -= 1;
        true
    }
}
