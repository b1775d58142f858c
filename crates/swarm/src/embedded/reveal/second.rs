//! Pieces that are shown again although they were given: what stands still, and whom the others do not feed.

use std::time::Duration;

use super::state::{Reveal, Spread, View};
use crate::embedded::events::ConnectionId;

/// Stalled pieces that are looked at for one decision, the oldest first.
const LOOKED_AT: usize = 256;
/// Pieces pending at once at a receiver that is fed so.
const WINDOW: usize = 4;

impl Reveal {
    /// Shows pieces again, now that everything held was given. Few at a time, so that news of their spread come first.
    pub(super) fn show_again(&mut self, view: &mut View, now: Duration) {
        loop {
            let scale = u64::from(self.scale);
            let full = view.under_way >= 2 * self.piece_bytes() * scale;
            let active = self.active(view);
            if let Some((id, piece)) = self.hungry(view, &active, now) {
                if full {
                    self.blocked = true;
                    return;
                }
                self.give(view, id, piece, false, now);
                continue;
            }
            let within = self.repeated + self.piece_bytes() <= view.budget && view.under_way < self.piece_bytes();
            match self.slow(view, &active, now).filter(|_| within && !full) {
                Some((id, piece)) => self.give(view, id, piece, true, now),
                None => return,
            }
        }
    }

    /// Returns the receivers that are not late.
    fn active(&self, view: &View) -> Vec<ConnectionId> {
        let late = |id: &ConnectionId| self.receivers.get(id).is_some_and(|receiver| receiver.late);
        view.audience.iter().copied().filter(|id| view.all_tardy || !late(id)).collect()
    }

    fn window(&self) -> usize {
        WINDOW * self.scale as usize
    }

    /// Returns the hungriest receiver and the piece that it gains most by.
    fn hungry(&mut self, view: &View, active: &[ConnectionId], now: Duration) -> Option<(ConnectionId, u32)> {
        let fair = self.peak / active.len().max(1) as f64;
        let mut hungry: Vec<(usize, ConnectionId)> = active
            .iter()
            .filter_map(|id| Some((*id, self.receivers.get(id)?)))
            .filter(|(_, receiver)| receiver.is_hungry(now, fair))
            .map(|(id, receiver)| (receiver.pending.len(), id))
            .collect();
        hungry.sort_unstable();
        for (pending, id) in hungry {
            let receiver = self.receivers.get(&id)?;
            let full = if view.all_tardy { !receiver.takes(true, self.scale) } else { pending >= self.window() };
            let pieces = self.held.without([&receiver.have, &receiver.revealed, &self.fresh]);
            let weighed = pieces.filter_map(|piece| Some((self.weight(self.pieces.get(piece as usize)?, now), piece)));
            let Some((_, piece)) = weighed.max_by(|(a, _), (b, _)| a.total_cmp(b)) else { continue };
            if full {
                self.blocked = true;
                continue;
            }
            return Some((id, piece));
        }
        None
    }

    /// Returns a piece that stands still and the receiver that owes least.
    fn slow(&self, view: &View, active: &[ConnectionId], now: Duration) -> Option<(ConnectionId, u32)> {
        let least = (2.0 * self.spread).clamp(0.1, 1.0);
        let mut best: Option<(f64, ConnectionId, u32)> = None;
        for (since, piece) in self.stalled.iter().take(LOOKED_AT) {
            let waited = now.saturating_sub(*since);
            if waited.as_secs_f64() < least {
                break;
            }
            let Some(spread) = self.pieces.get(*piece as usize) else { continue };
            if !is_slow(spread, waited, least, active.len()) {
                continue;
            }
            let weight = self.weight(spread, now);
            if best.is_some_and(|(known, ..)| known >= weight) {
                continue;
            }
            let eligible = active.iter().filter_map(|id| {
                let receiver = self.receivers.get(id)?;
                let room = if view.all_tardy {
                    receiver.takes(true, self.scale)
                } else {
                    receiver.pending.len() < self.window()
                };
                (room && receiver.lacks(*piece)).then_some((receiver.relayed == 0, receiver.owed, *id))
            });
            if let Some((.., id)) = eligible.min() {
                best = Some((weight, id, *piece));
            }
        }
        best.map(|(_, id, piece)| (id, piece))
    }

    fn weight(&self, spread: &Spread, now: Duration) -> f64 {
        let lacking = self.receivers.len().saturating_sub(spread.copies) as f64;
        let waited = now.saturating_sub(spread.progress).as_secs_f64() + 0.01;
        lacking * waited / (spread.copies as f64 + 0.5)
    }
}

/// Reports if a piece makes no progress and few have it.
fn is_slow(spread: &Spread, waited: Duration, least: f64, active: usize) -> bool {
    let few = spread.copies <= 2 + active / 8 || spread.copies * 2 <= active || waited > Duration::from_secs(1);
    few && waited.as_secs_f64() >= least * (1.0 + f64::from(spread.again))
}
