//! A piece that is being fetched: its bytes, and who sent which block.

use std::net::SocketAddr;
use std::time::Duration;

use super::events::ConnectionId;
use super::shape::{BLOCK_LENGTH, Block, Shape};

/// Who sent the blocks of a piece. Outlives the connections.
#[derive(Clone, Debug, Default)]
pub(super) struct Sources {
    peers: Vec<(ConnectionId, SocketAddr)>,
    /// By block, an index into `peers`.
    by_block: Vec<Option<u16>>,
}

impl Sources {
    fn record(&mut self, block: usize, id: ConnectionId, address: SocketAddr) {
        let known = self.peers.iter().position(|(known, _)| *known == id);
        let at = known.unwrap_or_else(|| {
            self.peers.push((id, address));
            self.peers.len() - 1
        });
        if let (Some(slot), Ok(at)) = (self.by_block.get_mut(block), u16::try_from(at)) {
            *slot = Some(at);
        }
    }

    /// Returns those that sent blocks which are still part of the piece.
    pub(super) fn peers(&self) -> Vec<(ConnectionId, SocketAddr)> {
        let sent = |at: usize| self.by_block.iter().any(|by| by.is_some_and(|by| usize::from(by) == at));
        self.peers.iter().enumerate().filter(|(at, _)| sent(*at)).map(|(_, peer)| *peer).collect()
    }

    /// Returns the only one that sent blocks, if all came from one.
    pub(super) fn single(&self) -> Option<(ConnectionId, SocketAddr)> {
        match self.peers().as_slice() {
            [only] => Some(*only),
            _ => None,
        }
    }

    /// Returns who sent blocks that differ between the failed bytes and the right ones, with the number of bytes in such blocks.
    pub(super) fn differing(&self, failed: &[u8], right: &[u8]) -> Vec<(ConnectionId, SocketAddr, u64)> {
        let size = BLOCK_LENGTH as usize;
        let mut guilty: Vec<(ConnectionId, SocketAddr, u64)> = Vec::new();
        for ((failed, right), by) in failed.chunks(size).zip(right.chunks(size)).zip(&self.by_block) {
            let peer = by.and_then(|at| self.peers.get(usize::from(at)));
            let (true, Some((id, address))) = (failed != right, peer) else { continue };
            match guilty.iter_mut().find(|(known, ..)| known == id) {
                Some((.., bytes)) => *bytes += failed.len() as u64,
                None => guilty.push((*id, *address, failed.len() as u64)),
            }
        }
        guilty
    }
}

/// A piece of which something is requested or received.
#[derive(Clone, Debug)]
pub(super) struct Part {
    /// Allocated with the first block.
    bytes: Vec<u8>,
    pub(super) sources: Sources,
    requested: Vec<bool>,
    /// Blocks received.
    received: u32,
    /// Who fetches it.
    pub(super) owner: Option<ConnectionId>,
    /// When the owner began, or when it lost the last one.
    pub(super) since: Duration,
    /// All blocks must come from one source.
    pub(super) whole: bool,
    /// It changed hands, so that blocks of it may be requested twice.
    pub(super) contested: bool,
}

impl Part {
    pub(super) fn new(shape: Shape, piece: u32, whole: bool, now: Duration) -> Self {
        let blocks = shape.blocks_of(piece) as usize;
        let sources = Sources { peers: Vec::new(), by_block: vec![None; blocks] };
        Self {
            bytes: Vec::new(),
            sources,
            requested: vec![false; blocks],
            received: 0,
            owner: None,
            since: now,
            whole,
            contested: false,
        }
    }

    /// Returns the number of blocks received.
    pub(super) fn received(&self) -> u32 {
        self.received
    }

    /// Marks the next block as requested and returns its number.
    pub(super) fn request(&mut self) -> Option<u32> {
        let at = self.requested.iter().position(|requested| !requested)?;
        if let Some(requested) = self.requested.get_mut(at) {
            *requested = true;
        }
        u32::try_from(at).ok()
    }

    /// Takes a block; false if it is there already.
    pub(super) fn put(&mut self, shape: Shape, block: Block, data: &[u8], from: (ConnectionId, SocketAddr)) -> bool {
        let at = (block.begin / BLOCK_LENGTH) as usize;
        if !self.sources.by_block.get(at).is_some_and(Option::is_none) {
            return false;
        }
        self.bytes.resize(shape.length_of(block.piece) as usize, 0);
        let begin = block.begin as usize;
        let Some(place) = self.bytes.get_mut(begin..begin + data.len()) else { return false };
        place.copy_from_slice(data);
        self.sources.record(at, from.0, from.1);
        if let Some(requested) = self.requested.get_mut(at) {
            *requested = true;
        }
        self.received += 1;
        true
    }

    /// Reports if every block is there.
    pub(super) fn is_complete(&self) -> bool {
        self.received as usize == self.requested.len()
    }

    /// Gives the piece to an owner, or to none: blocks that are not there are to be requested again.
    pub(super) fn assign(&mut self, owner: Option<ConnectionId>, now: Duration) {
        self.contested |= self.received > 0 || self.requested.contains(&true);
        self.owner = owner;
        self.since = now;
        if self.whole {
            self.clear(|_| true);
        }
        for (requested, by) in self.requested.iter_mut().zip(&self.sources.by_block) {
            *requested = by.is_some();
        }
    }

    /// Drops every block that this peer sent.
    pub(super) fn forget(&mut self, id: ConnectionId) {
        let at = self.sources.peers.iter().position(|(known, _)| *known == id);
        if let Some(at) = at.and_then(|at| u16::try_from(at).ok()) {
            self.clear(|by| by == at);
        }
    }

    fn clear(&mut self, which: impl Fn(u16) -> bool) {
        for (requested, by) in self.requested.iter_mut().zip(&mut self.sources.by_block) {
            if by.is_some_and(&which) {
                (*by, *requested) = (None, false);
                self.received -= 1;
            }
        }
    }

    /// Returns the complete piece and who sent it.
    pub(super) fn finish(self) -> (Vec<u8>, Sources) {
        (self.bytes, self.sources)
    }
}
