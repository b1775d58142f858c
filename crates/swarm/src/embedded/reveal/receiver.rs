//! One peer to which pieces are revealed.

use std::collections::VecDeque;
use std::time::Duration;

use crate::embedded::bits::Bits;
use crate::embedded::shape::Shape;

/// A piece that was shown and is not confirmed.
#[derive(Clone, Debug)]
pub(super) struct Pending {
    pub(super) piece: u32,
    since: Duration,
    /// Blocks that were not sent yet.
    unsent: u32,
    /// When the last of them was.
    sent_at: Duration,
}

#[derive(Clone, Debug)]
pub(super) struct Receiver {
    pub(super) have: Bits,
    pub(super) revealed: Bits,
    /// In the order in which they were shown.
    pub(super) pending: VecDeque<Pending>,
    window: u32,
    /// The window while every receiver is tardy.
    tardy_window: u32,
    most: u32,
    most_tardy: u32,
    penalty_until: Duration,
    /// Pieces first given to it that half the audience lacks.
    pub(super) owed: i64,
    /// Pieces first given to it that spread.
    pub(super) relayed: u64,
    /// When a piece came to it from others.
    pub(super) fed: Duration,
    pub(super) since: Duration,
    interested: bool,
    /// It sent its first message.
    pub(super) settled: bool,
    pub(super) late: bool,
    pub(super) tardy: bool,
    counted: u32,
    /// Bytes a second that it gains from anywhere, smoothed.
    pub(super) rate: f64,
    pub(super) peak: f64,
}

impl Receiver {
    pub(super) fn new(shape: Shape, now: Duration) -> Self {
        let piece = shape.piece_length();
        Self {
            have: Bits::new(shape.pieces()),
            revealed: Bits::new(shape.pieces()),
            pending: VecDeque::new(),
            window: 2,
            tardy_window: 2,
            most: ((1 << 20) / piece).max(4),
            most_tardy: ((16 << 20) / piece).max(4),
            penalty_until: Duration::ZERO,
            owed: 0,
            relayed: 0,
            fed: now,
            since: now,
            interested: false,
            settled: false,
            late: false,
            tardy: false,
            counted: 0,
            rate: 0.0,
            peak: 0.0,
        }
    }

    /// Judges if it is late with a piece, or was and is in its penalty.
    pub(super) fn look(&mut self, now: Duration, late_after: Duration) {
        let limit = if self.interested { late_after } else { Duration::from_millis(300) };
        self.late = self.pending.front().is_some_and(|oldest| now.saturating_sub(oldest.since) > limit);
        self.tardy = self.late || now < self.penalty_until;
    }

    /// Reports if it neither has the piece nor was shown it.
    pub(super) fn lacks(&self, piece: u32) -> bool {
        !self.have.has(piece) && !self.revealed.has(piece)
    }

    /// Reports if it may be shown one more piece.
    pub(super) fn takes(&self, all_tardy: bool, scale: u32) -> bool {
        let window = if all_tardy { self.tardy_window } else { self.window };
        (all_tardy || !self.tardy) && self.pending.len() < window.saturating_mul(scale) as usize
    }

    pub(super) fn show(&mut self, piece: u32, blocks: u32, now: Duration) {
        self.revealed.insert(piece);
        self.pending.push_back(Pending { piece, since: now, unsent: blocks, sent_at: now });
    }

    /// The time of a shown piece starts when the peer is interested.
    pub(super) fn interested(&mut self, interested: bool, now: Duration) {
        if interested && !self.interested {
            self.pending.iter_mut().for_each(|pending| pending.since = now);
        }
        self.interested = interested;
    }

    /// Takes a piece off the pending ones and returns how long it took.
    pub(super) fn confirm(&mut self, piece: u32, now: Duration) -> Option<Duration> {
        let at = self.pending.iter().position(|pending| pending.piece == piece)?;
        self.pending.remove(at).map(|pending| now.saturating_sub(pending.since))
    }

    /// Adapts its windows to a confirmed piece.
    pub(super) fn rated(&mut self, delay: Duration, late_after: Duration, now: Duration) {
        if delay <= late_after {
            self.window = (self.window + 1).min(self.most);
            return;
        }
        self.window = 1;
        self.penalty_until = now + (2 * delay).min(Duration::from_secs(10));
        if self.pending.is_empty() {
            self.tardy_window = (self.tardy_window * 2).min(self.most_tardy);
        }
    }

    pub(super) fn block_sent(&mut self, piece: u32, now: Duration) {
        if let Some(pending) = self.pending.iter_mut().find(|pending| pending.piece == piece) {
            pending.unsent = pending.unsent.saturating_sub(1);
            pending.sent_at = now;
        }
    }

    /// Returns the pieces of which all blocks were sent so long ago that they must have arrived.
    pub(super) fn delivered(&self, now: Duration, after: Duration) -> impl Iterator<Item = u32> + '_ {
        let arrived = move |pending: &&Pending| pending.unsent == 0 && now.saturating_sub(pending.sent_at) > after;
        self.pending.iter().filter(arrived).map(|pending| pending.piece)
    }

    pub(super) fn tick(&mut self, seconds: f64, piece_bytes: u64) {
        let gained = f64::from(self.have.count() - self.counted) * piece_bytes as f64;
        self.counted = self.have.count();
        self.rate += (0.4 * seconds).min(1.0) * (gained / seconds - self.rate);
        self.peak = self.peak.max(self.rate);
    }

    /// Reports if the others do not feed it: no piece of theirs for a second, or far fewer than it can take.
    pub(super) fn is_hungry(&self, now: Duration, fair: f64) -> bool {
        let starved = now.saturating_sub(self.fed) > Duration::from_secs(1) || self.rate < 0.3 * self.peak.min(fair);
        now.saturating_sub(self.since) > Duration::from_millis(1_500) && starved
    }
}

/// What a receiver has in its hands, in halves of a piece.
pub(super) fn half_units(owed: i64, pending: usize) -> i64 {
    2 * owed.max(0) + i64::try_from(pending).unwrap_or(i64::MAX / 4)
}
