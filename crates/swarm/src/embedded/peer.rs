//! One connected peer: what it holds, what was asked of it and what it asks for.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use super::bits::Bits;
use super::shape::{Block, Shape};

/// Blocks requested at once of one peer.
const PIPELINE: u32 = 64;
/// The least number of blocks requested at once of a peer with everything: less leaves more choice to the others.
const OF_COMPLETE: u32 = 24;
/// Blocks requested of a peer that fell silent, until it sends again.
const AFTER_SILENCE: u32 = 4;
/// Requests that a peer may have queued here. Well-behaved clients stay below 512.
pub(super) const MOST_UPLOADS: usize = 2_048;
/// Blocks that a peer may send without a request, since other clients ask for blocks twice near the end.
const MOST_UNASKED: u32 = 256;

/// Payload bytes of one connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Received, useful or not.
    pub received: u64,
    /// Received twice, or after the request was taken back.
    pub wasted: u64,
    /// Received and proven not to belong to the torrent.
    pub corrupt: u64,
    /// Sent.
    pub sent: u64,
}

/// The state of one connection.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) address: SocketAddr,
    pub(super) upstream: bool,
    pub(super) have: Bits,
    /// It said what it has, so that a bitfield comes too late.
    pub(super) stated: bool,
    /// Pieces that it has and this side lacks.
    pub(super) wanted: u32,
    /// It was told that this side is interested.
    pub(super) interested_in: bool,
    /// It does not answer requests.
    pub(super) choked: bool,
    /// Requests that are not answered yet.
    pub(super) open: VecDeque<Block>,
    /// Pieces that it is to deliver, in their order.
    pub(super) owned: Vec<u32>,
    window: u32,
    /// When the last block came, or the first of the open requests was sent.
    pub(super) last: Duration,
    /// It sent nothing for long. Not asked again before this time.
    pub(super) rests_until: Duration,
    pub(super) silent: bool,
    silences: u32,
    /// A piece of it was verified.
    pub(super) proven: bool,
    /// Pieces with blocks of it that are being verified.
    pub(super) checking: u32,
    /// Blocks a second, smoothed.
    pub(super) rate: f64,
    tolerated: u32,
    unasked: u32,
    /// Blocks queued to be sent to it.
    pub(super) uploads: VecDeque<Block>,
    pub(super) counters: Counters,
}

impl Peer {
    pub(super) fn new(address: SocketAddr, upstream: bool, pieces: u32, now: Duration) -> Self {
        Self {
            address,
            upstream,
            have: Bits::new(pieces),
            stated: false,
            wanted: 0,
            interested_in: false,
            choked: true,
            open: VecDeque::new(),
            owned: Vec::new(),
            window: PIPELINE,
            last: now,
            rests_until: Duration::ZERO,
            silent: false,
            silences: 0,
            proven: false,
            checking: 0,
            rate: 0.0,
            tolerated: 0,
            unasked: 0,
            uploads: VecDeque::new(),
            counters: Counters::default(),
        }
    }

    /// Returns how many blocks may be requested at once.
    pub(super) fn depth(&self, shape: Shape) -> usize {
        let most = self.window.min(PIPELINE);
        let piece = shape.blocks_of(0).max(OF_COMPLETE);
        (if self.have.is_full() { most.min(piece) } else { most }) as usize
    }

    /// Reports if a new piece may be requested. The first one must be verified before the second, so that a peer with
    /// corrupt data wastes one piece and no more.
    pub(super) fn takes_pieces(&self) -> bool {
        self.proven || (self.owned.is_empty() && self.open.is_empty() && self.checking == 0)
    }

    /// Notes a request.
    pub(super) fn requested(&mut self, block: Block, now: Duration) {
        if self.open.is_empty() {
            self.last = now;
        }
        self.open.push_back(block);
    }

    /// Notes that a block arrived; false if it was not requested.
    pub(super) fn arrived(&mut self, block: Block, now: Duration) -> bool {
        self.counters.received += u64::from(block.length);
        let Some(at) = self.open.iter().position(|open| *open == block) else { return false };
        self.open.remove(at);
        let seconds = now.saturating_sub(self.last).as_secs_f64().max(1e-5);
        self.rate += 0.05 * (1.0 / seconds - self.rate);
        self.last = now;
        (self.silent, self.silences, self.rests_until, self.unasked) = (false, 0, Duration::ZERO, 0);
        self.window = (self.window + 1).min(PIPELINE);
        true
    }

    /// Judges a block that was not requested; true if the connection should end.
    pub(super) fn unrequested(&mut self, length: u32) -> bool {
        self.counters.wasted += u64::from(length);
        if self.tolerated > 0 {
            self.tolerated -= 1;
            (self.silent, self.silences, self.rests_until) = (false, 0, Duration::ZERO);
            return false;
        }
        self.unasked += 1;
        self.unasked > MOST_UNASKED
    }

    /// Takes back requests; their blocks may be on their way already. Returns those that were open.
    pub(super) fn take_back(&mut self, which: impl Fn(&Block) -> bool) -> Vec<Block> {
        let (taken, left): (Vec<Block>, Vec<Block>) = self.open.iter().partition(|block| which(block));
        self.open = left.into();
        self.tolerated = self.tolerated.saturating_add(u32::try_from(taken.len()).unwrap_or(0)).min(4 * PIPELINE);
        taken
    }

    /// Reports if requests are open and it never delivered a piece, nor a block lately.
    pub(super) fn is_mute(&self, now: Duration) -> bool {
        !self.proven && !self.open.is_empty() && now.saturating_sub(self.last) > Duration::from_millis(100)
    }

    /// Notes that no block came for too long.
    pub(super) fn fell_silent(&mut self, now: Duration) {
        self.silent = true;
        self.window = AFTER_SILENCE;
        self.rests_until = now + Duration::from_secs(1 << self.silences.min(5));
        self.silences += 1;
    }
}
