//! Pieces that failed and came from several peers: kept until the right bytes show who sent the wrong ones.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use super::events::ConnectionId;
use super::part::Sources;

/// Pieces whose failed bytes are kept. A further one is fetched from one source as well, which makes the next failure
/// certain; who spoiled the first stays unknown.
const MOST_KEPT: usize = 4;

/// Who sent what is proven wrong.
pub(super) type Guilty = Vec<(ConnectionId, SocketAddr, u64)>;

#[derive(Debug, Default)]
pub(super) struct Suspects {
    failed: BTreeMap<u32, (Vec<u8>, Sources)>,
    /// By piece, who is guilty if the bytes that are being verified are right.
    compared: BTreeMap<u32, Guilty>,
}

impl Suspects {
    /// Keeps a failed piece of several sources.
    pub(super) fn keep(&mut self, piece: u32, bytes: Vec<u8>, sources: Sources) {
        if self.failed.len() < MOST_KEPT {
            self.failed.entry(piece).or_insert((bytes, sources));
        }
    }

    /// Compares a piece that goes to be verified with what failed before.
    pub(super) fn compare(&mut self, piece: u32, bytes: &[u8]) {
        if let Some((failed, sources)) = self.failed.get(&piece) {
            self.compared.insert(piece, sources.differing(failed, bytes));
        }
    }

    /// Returns who spoiled the piece before, now that its bytes are known.
    pub(super) fn stored(&mut self, piece: u32) -> Guilty {
        self.failed.remove(&piece);
        self.compared.remove(&piece).unwrap_or_default()
    }

    /// Notes that the piece failed again.
    pub(super) fn failed_again(&mut self, piece: u32) {
        self.compared.remove(&piece);
    }

    /// Reports if this peer sent a part of a failed piece.
    pub(super) fn includes(&self, piece: u32, id: ConnectionId) -> bool {
        self.failed.get(&piece).is_some_and(|(_, sources)| sources.peers().iter().any(|(peer, _)| *peer == id))
    }
}
