//! Whom a server shows which piece: each to one receiver first, which passes it on while the server shows the next.
//!
//! A receiver that is late with a piece, or was, is tardy: pieces in its hands do not count as under way, and new ones go to
//! others while there are others. What does not spread is shown again within a budget. Times are in seconds where they are
//! smoothed.

mod book;
mod receiver;
mod second;
mod state;

use std::collections::BTreeSet;
use std::time::Duration;

use super::events::ConnectionId;
use super::random::Random;
use super::shape::Block;
use receiver::{Receiver, half_units};
pub(super) use state::Reveal;
use state::View;

/// The least number of bytes under way.
const LEAST_WINDOW: u64 = 1 << 20;
/// The largest factor of the window.
const MOST_SCALE: u32 = 64;
/// Idle time of the uplink after which the window grows, and busy time after which it shrinks.
const IDLE: Duration = Duration::from_millis(100);
const BUSY: Duration = Duration::from_secs(5);
/// A receiver that sent nothing yet gets no piece before: its bitfield may be on its way.
const SETTLING: Duration = Duration::from_millis(50);
/// Blocks sent so long ago count as delivered: some clients say nothing to a peer that has the piece.
const DELIVERED: Duration = Duration::from_secs(1);
/// Pieces that are looked at for one decision.
const LOOKED_AT: usize = 64;

/// Why a piece is shown.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Cause {
    Fresh,
    Late,
    Stuck,
}

impl Reveal {
    /// Returns whom to show which piece now.
    pub(super) fn decide(&mut self, now: Duration, random: &mut Random) -> Vec<(ConnectionId, u32)> {
        let mut view = self.view(now);
        self.blocked = false;
        if view.audience.is_empty() {
            return view.shown;
        }
        let window = LEAST_WINDOW.max(4 * self.piece_bytes()) * u64::from(self.scale);
        let mut passed_over = BTreeSet::new();
        loop {
            if view.under_way >= window {
                self.blocked = true;
                break;
            }
            let Some((piece, cause)) = self.candidate(&view, &passed_over, now) else {
                if passed_over.is_empty() {
                    self.show_again(&mut view, now);
                }
                break;
            };
            match self.receiver_for(&view, piece, cause, random) {
                Some(id) => self.give(&mut view, id, piece, true, now),
                // No other relays it: it waits for further news of it.
                None if cause == Cause::Stuck => {
                    self.not_single(piece);
                    self.single.retain(|(_, single)| *single != piece);
                }
                None => {
                    self.blocked = true;
                    passed_over.insert(piece);
                    if passed_over.len() >= LOOKED_AT || !self.has_room(&view) {
                        break;
                    }
                }
            }
        }
        view.shown
    }

    fn view(&mut self, now: Duration) -> View {
        let (late_after, piece_bytes) = (self.late_after(), self.piece_bytes());
        let mut view = View {
            audience: Vec::with_capacity(self.receivers.len()),
            all_tardy: true,
            any_late: false,
            under_way: 0,
            budget: (self.shape.total() / 20).max(2 * piece_bytes),
            shown: Vec::new(),
        };
        self.prompt = 0;
        for (id, receiver) in &mut self.receivers {
            if receiver.have.is_full() || !(receiver.settled || now.saturating_sub(receiver.since) >= SETTLING) {
                continue;
            }
            view.audience.push(*id);
            receiver.look(now, late_after);
            view.any_late |= receiver.late;
            if !receiver.tardy {
                view.all_tardy = false;
                self.prompt += 1;
                view.under_way += receiver.pending.len() as u64 * piece_bytes;
            }
        }
        if view.all_tardy {
            view.any_late = false;
        }
        view
    }

    /// Returns the next piece to show and why.
    fn candidate(&self, view: &View, passed_over: &BTreeSet<u32>, now: Duration) -> Option<(u32, Cause)> {
        let cost = self.repeated + self.piece_bytes();
        if view.any_late && cost <= view.budget {
            let late = |piece: &&u32| {
                let given = self.pieces.get(**piece as usize).and_then(|spread| spread.given);
                let receiver = given.and_then(|given| self.receivers.get(&given));
                !passed_over.contains(piece) && receiver.is_none_or(|receiver| receiver.late)
            };
            if let Some(piece) = self.unconfirmed.iter().find(late) {
                return Some((*piece, Cause::Late));
            }
        }
        if cost <= view.budget / 2
            && let Some((since, piece)) = self.single.first()
            && now.saturating_sub(*since).as_secs_f64() > (10.0 * self.spread).clamp(0.5, 3.0)
        {
            return Some((*piece, Cause::Stuck));
        }
        self.fresh.iter().find(|piece| !passed_over.contains(piece)).map(|piece| (piece, Cause::Fresh))
    }

    /// Returns the receiver with the least in its hands.
    fn receiver_for(&self, view: &View, piece: u32, cause: Cause, random: &mut Random) -> Option<ConnectionId> {
        let given = self.pieces.get(piece as usize).and_then(|spread| spread.given);
        let eligible = view.audience.iter().filter_map(|id| {
            let receiver = self.receivers.get(id)?;
            let relays = cause != Cause::Stuck || (receiver.relayed > 0 && given != Some(*id));
            (relays && receiver.lacks(piece) && receiver.takes(view.all_tardy, self.scale)).then_some((*id, receiver))
        });
        let load = |receiver: &Receiver| half_units(receiver.owed, receiver.pending.len());
        eligible.min_by_key(|(_, receiver)| (load(receiver), random.below(1 << 16))).map(|(id, _)| id)
    }

    /// Reports if any receiver may be shown a further piece.
    fn has_room(&self, view: &View) -> bool {
        let receivers = view.audience.iter().filter_map(|id| self.receivers.get(id));
        receivers.into_iter().any(|receiver| receiver.takes(view.all_tardy, self.scale))
    }

    /// Notes that time passed. `quiet`: no block waits to be sent; `sent`: bytes sent so far.
    pub(super) fn tick(&mut self, now: Duration, quiet: bool, sent: u64) {
        let seconds = now.saturating_sub(self.ticked).as_secs_f64();
        if seconds <= 0.0 {
            return;
        }
        self.ticked = now;
        let bytes = sent.saturating_sub(self.sent);
        self.sent = sent;
        self.rate += seconds.min(1.0) * (bytes as f64 / seconds - self.rate);
        self.peak = self.peak.max(self.rate);
        let piece_bytes = self.piece_bytes();
        let mut delivered = Vec::new();
        for (id, receiver) in &mut self.receivers {
            receiver.tick(seconds, piece_bytes);
            delivered.extend(receiver.delivered(now, DELIVERED).map(|piece| (*id, piece)));
        }
        delivered.into_iter().for_each(|(id, piece)| self.have(id, piece, now.saturating_sub(DELIVERED)));
        self.adapt(now, quiet && bytes == 0);
    }

    /// Widens the window while the uplink idles although pieces are kept back, and narrows it after busy times.
    fn adapt(&mut self, now: Duration, idle: bool) {
        if !(idle && self.blocked) {
            self.idle_since = now;
        } else if now.saturating_sub(self.idle_since) >= IDLE {
            self.idle_since = now;
            self.scale = (self.scale * 2).min(MOST_SCALE);
        }
        if idle {
            self.busy_since = now;
        } else if now.saturating_sub(self.busy_since) >= BUSY {
            self.busy_since = now;
            self.scale = (self.scale / 2).max(1);
        }
    }

    /// Notes that a block was sent.
    pub(super) fn sent(&mut self, id: ConnectionId, block: Block, now: Duration) {
        if let Some(receiver) = self.receivers.get_mut(&id) {
            receiver.block_sent(block.piece, now);
        }
    }
}
