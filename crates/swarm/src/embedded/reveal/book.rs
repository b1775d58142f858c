//! What receivers and the storage report, entered where decisions look it up.

use std::time::Duration;

use super::receiver::Receiver;
use super::state::{Reveal, Spread};
use crate::embedded::events::ConnectionId;

impl Reveal {
    /// Takes in a peer that may receive.
    pub(in crate::embedded) fn join(&mut self, id: ConnectionId, now: Duration) {
        self.receivers.insert(id, Receiver::new(self.shape, now));
        for piece in 0..self.shape.pieces() {
            self.settle(piece);
        }
    }

    /// Notes the first message of a peer; true if it was the first.
    pub(in crate::embedded) fn settle_peer(&mut self, id: ConnectionId) -> bool {
        self.receivers.get_mut(&id).is_some_and(|receiver| !std::mem::replace(&mut receiver.settled, true))
    }

    pub(in crate::embedded) fn interested(&mut self, id: ConnectionId, interested: bool, now: Duration) {
        if let Some(receiver) = self.receivers.get_mut(&id) {
            receiver.interested(interested, now);
        }
    }

    /// Forgets a peer. Pieces that are in no other hands are fresh again.
    pub(in crate::embedded) fn leave(&mut self, id: ConnectionId, now: Duration) {
        let Some(gone) = self.receivers.remove(&id) else { return };
        for piece in 0..self.shape.pieces() {
            let Some(spread) = self.pieces.get_mut(piece as usize) else { continue };
            spread.copies -= usize::from(gone.have.has(piece));
            let pending = |id: &ConnectionId| {
                let receiver = self.receivers.get(id);
                receiver.is_some_and(|receiver| receiver.pending.iter().any(|pending| pending.piece == piece))
            };
            if spread.copies == 0 && !spread.given.as_ref().is_some_and(pending) {
                let fresh = Spread { again: spread.again, progress: now, ..Spread::default() };
                let left = std::mem::replace(spread, fresh);
                left.single_since.into_iter().for_each(|since| {
                    self.single.remove(&(since, piece));
                });
                self.unconfirmed.remove(&piece);
                self.stalled.remove(&(left.progress, piece));
                if self.held.has(piece) {
                    self.fresh.insert(piece);
                }
            } else {
                self.mark_single(piece);
                self.settle(piece);
            }
        }
    }

    /// Notes that a receiver has a piece.
    pub(in crate::embedded) fn have(&mut self, id: ConnectionId, piece: u32, now: Duration) {
        let late_after = self.late_after();
        let Some(receiver) = self.receivers.get_mut(&id) else { return };
        let Some(spread) = self.pieces.get_mut(piece as usize).filter(|_| receiver.have.insert(piece)) else { return };
        if !receiver.revealed.has(piece) {
            receiver.fed = now;
        }
        if let Some(delay) = receiver.confirm(piece, now) {
            receiver.rated(delay, late_after, now);
            let sample = delay.as_secs_f64().min(2.0 * self.turn + 0.1);
            self.turn += 0.1 * (sample - self.turn);
        }
        spread.copies += 1;
        match spread.copies {
            1 => spread.first_copy = now,
            2 => self.spread += 0.1 * (now.saturating_sub(spread.first_copy).as_secs_f64() - self.spread),
            _ => {}
        }
        let half = 1 + (self.prompt.max(1) - 1).div_euclid(2).max(1);
        if !spread.done && spread.copies >= half {
            spread.done = spread.given.is_some();
            if let Some(giver) = spread.given.and_then(|given| self.receivers.get_mut(&given)) {
                giver.owed -= 1;
                giver.relayed += 1;
            }
        }
        self.fresh.remove(piece);
        self.unconfirmed.remove(&piece);
        self.progress(piece, now);
        self.mark_single(piece);
    }

    /// Notes that this side holds one more piece.
    pub(in crate::embedded) fn stored(&mut self, piece: u32, now: Duration) {
        self.held.insert(piece);
        let Some(spread) = self.pieces.get(piece as usize) else { return };
        if spread.copies == 0 {
            self.fresh.insert(piece);
        } else {
            self.progress(piece, now);
        }
    }

    /// Notes that this side lost a piece. It may be shown again when it is back.
    pub(in crate::embedded) fn lost(&mut self, piece: u32) {
        self.held.remove(piece);
        self.fresh.remove(piece);
        self.unconfirmed.remove(&piece);
        self.not_single(piece);
        for receiver in self.receivers.values_mut() {
            receiver.revealed.remove(piece);
            receiver.pending.retain(|pending| pending.piece != piece);
        }
        if let Some(spread) = self.pieces.get_mut(piece as usize) {
            spread.given = None;
            self.stalled.remove(&(spread.progress, piece));
        }
    }
}
