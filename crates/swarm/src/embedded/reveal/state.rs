//! The state of a server that reveals pieces, and how it stays consistent.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::receiver::Receiver;
use crate::embedded::bits::Bits;
use crate::embedded::events::ConnectionId;
use crate::embedded::shape::Shape;

/// The least time after which a shown piece is late.
const LEAST_LATE: f64 = 0.3;

/// How one piece spreads.
#[derive(Clone, Debug, Default)]
pub(super) struct Spread {
    /// Who was shown it last.
    pub(super) given: Option<ConnectionId>,
    pub(super) given_at: Duration,
    /// How often it was shown again.
    pub(super) again: u32,
    /// How many receivers have it.
    pub(super) copies: usize,
    pub(super) first_copy: Duration,
    /// When it was given or came to a further receiver: its place among the stalled.
    pub(super) progress: Duration,
    /// Half of the audience has it.
    pub(super) done: bool,
    /// Its place among the single ones.
    pub(super) single_since: Option<Duration>,
}

/// The state of a server that reveals pieces.
#[derive(Debug)]
pub(in crate::embedded) struct Reveal {
    pub(super) shape: Shape,
    pub(super) held: Bits,
    /// Held, in no receiver's hands and shown to none.
    pub(super) fresh: Bits,
    pub(super) receivers: BTreeMap<ConnectionId, Receiver>,
    pub(super) pieces: Vec<Spread>,
    /// Shown, and not confirmed by any receiver.
    pub(super) unconfirmed: BTreeSet<u32>,
    /// With one copy, by the time since when.
    pub(super) single: BTreeSet<(Duration, u32)>,
    /// Shown or copied, and lacked by some receiver, by the time of the last progress.
    pub(super) stalled: BTreeSet<(Duration, u32)>,
    /// Bytes shown again within the budget.
    pub(super) repeated: u64,
    /// Seconds from showing a piece to its receiver's HAVE, smoothed; and from the first copy to the second.
    pub(super) turn: f64,
    pub(super) spread: f64,
    pub(super) scale: u32,
    /// Receivers that were not tardy at the last decision.
    pub(super) prompt: usize,
    /// The window or the receivers' windows kept a piece back at the last decision.
    pub(super) blocked: bool,
    pub(super) idle_since: Duration,
    pub(super) busy_since: Duration,
    pub(super) ticked: Duration,
    pub(super) sent: u64,
    pub(super) rate: f64,
    pub(super) peak: f64,
}

/// What one decision looks at.
pub(super) struct View {
    pub(super) audience: Vec<ConnectionId>,
    /// Every receiver is tardy: tardy ones are eligible.
    pub(super) all_tardy: bool,
    pub(super) any_late: bool,
    /// Bytes pending at prompt receivers.
    pub(super) under_way: u64,
    pub(super) budget: u64,
    pub(super) shown: Vec<(ConnectionId, u32)>,
}

impl Reveal {
    pub(in crate::embedded) fn new(shape: Shape, held: Bits) -> Self {
        Self {
            shape,
            fresh: held.clone(),
            held,
            receivers: BTreeMap::new(),
            pieces: vec![Spread::default(); shape.pieces() as usize],
            unconfirmed: BTreeSet::new(),
            single: BTreeSet::new(),
            stalled: BTreeSet::new(),
            repeated: 0,
            turn: 0.0,
            spread: 0.0,
            scale: 1,
            prompt: 0,
            blocked: false,
            idle_since: Duration::ZERO,
            busy_since: Duration::ZERO,
            ticked: Duration::ZERO,
            sent: 0,
            rate: 0.0,
            peak: 0.0,
        }
    }

    /// Reports if a receiver lacks something that this side has or may come to have.
    pub(in crate::embedded) fn has_audience(&self) -> bool {
        self.receivers.values().any(|receiver| !receiver.have.is_full())
    }

    /// Reports if a receiver was shown this piece.
    pub(in crate::embedded) fn is_revealed(&self, id: ConnectionId, piece: u32) -> bool {
        self.receivers.get(&id).is_some_and(|receiver| receiver.revealed.has(piece))
    }

    pub(super) fn piece_bytes(&self) -> u64 {
        u64::from(self.shape.piece_length())
    }

    pub(super) fn late_after(&self) -> Duration {
        Duration::from_secs_f64(LEAST_LATE.max(4.0 * self.turn))
    }

    /// Shows a piece. Shown again, it is paid from the budget if so told.
    pub(super) fn give(&mut self, view: &mut View, id: ConnectionId, piece: u32, paid: bool, now: Duration) {
        let (piece_bytes, blocks) = (self.piece_bytes(), self.shape.blocks_of(piece));
        let Some(spread) = self.pieces.get_mut(piece as usize) else { return };
        let (before, done) = (spread.given.replace(id), spread.done);
        let repeated = before.is_some() || spread.copies > 0;
        if repeated {
            spread.again += 1;
            self.repeated += if paid { piece_bytes } else { 0 };
        }
        spread.given_at = now;
        let unconfirmed = spread.copies == 0;
        if let Some(before) = before.filter(|_| !done).and_then(|before| self.receivers.get_mut(&before)) {
            before.owed -= 1;
        }
        if let Some(receiver) = self.receivers.get_mut(&id) {
            receiver.owed += i64::from(!done);
            receiver.show(piece, blocks, now);
        }
        self.fresh.remove(piece);
        if unconfirmed {
            self.unconfirmed.insert(piece);
        }
        self.progress(piece, now);
        self.mark_single(piece);
        if !view.all_tardy {
            view.under_way += piece_bytes;
        }
        view.shown.push((id, piece));
    }

    /// Moves a piece to the end of the stalled ones.
    pub(super) fn progress(&mut self, piece: u32, now: Duration) {
        let Some(spread) = self.pieces.get_mut(piece as usize) else { return };
        self.stalled.remove(&(spread.progress, piece));
        spread.progress = now;
        self.settle(piece);
    }

    /// Enters a piece among the stalled ones if it is in some hands and not in all.
    pub(super) fn settle(&mut self, piece: u32) {
        let Some(spread) = self.pieces.get(piece as usize) else { return };
        let key = (spread.progress, piece);
        let known = spread.given.is_some() || spread.copies > 0;
        if known && self.held.has(piece) && spread.copies < self.receivers.len() {
            self.stalled.insert(key);
        } else {
            self.stalled.remove(&key);
        }
    }

    /// Enters a piece among those with one copy, or removes it there.
    pub(super) fn mark_single(&mut self, piece: u32) {
        self.not_single(piece);
        let Some(spread) = self.pieces.get_mut(piece as usize) else { return };
        if spread.copies == 1 && spread.given.is_some() && !spread.done && self.held.has(piece) {
            let since = spread.first_copy.max(spread.given_at);
            spread.single_since = Some(since);
            self.single.insert((since, piece));
        }
    }

    pub(super) fn not_single(&mut self, piece: u32) {
        let since = self.pieces.get_mut(piece as usize).and_then(|spread| spread.single_since.take());
        if let Some(since) = since {
            self.single.remove(&(since, piece));
        }
    }
}
