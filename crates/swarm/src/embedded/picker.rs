//! Which piece to fetch from whom.
//!
//! A begun piece without an owner comes first, then the rarest; ties are broken at random towards a peer with everything, so
//! that terminals fetch different pieces of it, and by the lowest number towards others. A piece has one owner at a time.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::bits::Bits;
use super::events::ConnectionId;
use super::part::{Part, Sources};
use super::peer::Peer;
use super::random::Random;
use super::shape::Shape;

/// The least age at which a piece is taken from its owner.
const OVERDUE: Duration = Duration::from_millis(300);
/// The same for an owner that never delivered anything.
const UNANSWERED: Duration = Duration::from_millis(100);
/// A begun piece without an owner may be dropped after so long, if others need its memory.
const ORPHANED: Duration = Duration::from_secs(3);
/// The least number of pieces that may be in memory at once, however long they are.
const LEAST_IN_MEMORY: usize = 4;

/// The pieces of a torrent as the fetching side sees them.
#[derive(Debug)]
pub(super) struct Picker {
    shape: Shape,
    pub(super) held: Bits,
    /// Begun, or being verified.
    busy: Bits,
    pub(super) parts: BTreeMap<u32, Part>,
    /// Begun, and fetched by none.
    orphans: BTreeSet<u32>,
    pub(super) checking: BTreeMap<u32, Sources>,
    /// By piece, how many peers have it.
    available: Vec<u16>,
    /// Fetched before others that are as rare.
    pub(super) preferred: Bits,
    /// Must come from one source.
    pub(super) whole: BTreeSet<u32>,
    most_in_memory: usize,
    /// Seconds from the start of a piece to its end, smoothed.
    piece_time: f64,
    /// Grows with every piece that is taken over, so that peers do not take pieces from each other in turn.
    patience: f64,
}

impl Picker {
    /// Keeps at most `memory` bytes of pieces that are begun or being verified, but for the least number of them.
    pub(super) fn new(shape: Shape, held: Bits, memory: u64) -> Self {
        let pieces = shape.pieces();
        let room = usize::try_from(memory / u64::from(shape.piece_length())).unwrap_or(usize::MAX);
        Self {
            shape,
            held,
            busy: Bits::new(pieces),
            parts: BTreeMap::new(),
            orphans: BTreeSet::new(),
            checking: BTreeMap::new(),
            available: vec![0; pieces as usize],
            preferred: Bits::new(pieces),
            whole: BTreeSet::new(),
            most_in_memory: room.max(LEAST_IN_MEMORY),
            piece_time: 0.0,
            patience: 1.0,
        }
    }

    /// Notes that one more peer has a piece, or one fewer.
    pub(super) fn count(&mut self, piece: u32, more: bool) {
        if let Some(available) = self.available.get_mut(piece as usize) {
            *available = if more { available.saturating_add(1) } else { available.saturating_sub(1) };
        }
    }

    /// Returns the number of pieces in memory.
    pub(super) fn in_memory(&self) -> usize {
        self.parts.len() + self.checking.len()
    }

    /// Returns a piece to fetch from this peer, which becomes its owner. `barred` are pieces that it must not fetch.
    pub(super) fn pick(
        &mut self,
        id: ConnectionId,
        peer: &Peer,
        barred: &[u32],
        random: &mut Random,
        now: Duration,
    ) -> Option<u32> {
        let begun = self.orphans.iter().copied().find(|piece| peer.have.has(*piece) && !barred.contains(piece));
        let piece = begun.or_else(|| self.rarest(peer, barred, random))?;
        if begun.is_none() {
            self.make_room(now)?;
            self.busy.insert(piece);
            self.parts.insert(piece, Part::new(self.shape, piece, self.whole.contains(&piece), now));
        }
        self.orphans.remove(&piece);
        self.parts.get_mut(&piece)?.assign(Some(id), now);
        Some(piece)
    }

    fn rarest(&self, peer: &Peer, barred: &[u32], random: &mut Random) -> Option<u32> {
        let complete = peer.have.is_full();
        let (mut best, mut best_key, mut ties) = (None, (u16::MAX, true), 0);
        for piece in peer.have.without([&self.held, &self.busy]) {
            let available = self.available.get(piece as usize).copied().unwrap_or(0);
            let key = (available, !self.preferred.has(piece));
            if best.is_some() && key > best_key || barred.contains(&piece) {
                continue;
            }
            ties = if best.is_none() || key < best_key { 1 } else { ties + 1 };
            if ties == 1 || complete && random.below(ties) == 0 {
                (best, best_key) = (Some(piece), key);
            }
        }
        best
    }

    /// Makes sure that one more piece fits into memory, at the cost of one that was left behind long ago.
    fn make_room(&mut self, now: Duration) -> Option<()> {
        if self.in_memory() < self.most_in_memory {
            return Some(());
        }
        let age = |part: &Part| now.saturating_sub(part.since);
        let old = self.orphans.iter().filter_map(|piece| Some((*piece, self.parts.get(piece)?)));
        let (piece, _) = old.filter(|(_, part)| age(part) > ORPHANED).min_by_key(|(_, part)| part.received())?;
        self.drop_part(piece);
        Some(())
    }

    /// Forgets what was received of a piece.
    pub(super) fn drop_part(&mut self, piece: u32) {
        self.parts.remove(&piece);
        self.orphans.remove(&piece);
        self.busy.remove(piece);
    }

    /// Takes a piece over for an idle peer from a slower owner, if that has had it for long. Returns it and the old owner.
    pub(super) fn take_over(
        &mut self,
        id: ConnectionId,
        peers: &BTreeMap<ConnectionId, Peer>,
        now: Duration,
    ) -> Option<(u32, ConnectionId)> {
        let peer = peers.get(&id)?;
        let limit = OVERDUE.max(Duration::from_secs_f64(3.0 * self.piece_time * self.patience));
        let overdue = self.parts.iter().filter_map(|(piece, part)| {
            let owner = part.owner.filter(|owner| *owner != id && !part.whole && peer.have.has(*piece))?;
            let theirs = peers.get(&owner).map_or(0.0, |owner| owner.rate);
            let limit = if peers.get(&owner).is_none_or(|owner| owner.is_mute(now)) { UNANSWERED } else { limit };
            let slower = peer.rate > 0.0 && theirs > 0.0 && peer.rate < theirs * 0.5;
            let age = now.saturating_sub(part.since);
            (age > limit && !slower).then_some((age, *piece, owner))
        });
        let (_, piece, owner) = overdue.max_by_key(|(age, ..)| *age)?;
        self.patience = (self.patience * 1.3).min(30.0);
        self.parts.get_mut(&piece)?.assign(Some(id), now);
        Some((piece, owner))
    }

    /// Takes a piece from its owner; what was received stays for the next.
    pub(super) fn release(&mut self, piece: u32, now: Duration) {
        let Some(part) = self.parts.get_mut(&piece) else { return };
        part.assign(None, now);
        self.settle(piece);
    }

    /// Keeps an ownerless piece as begun if something of it is there, and else forgets it.
    fn settle(&mut self, piece: u32) {
        match self.parts.get(&piece) {
            Some(part) if part.owner.is_some() => {}
            Some(part) if part.received() > 0 => drop(self.orphans.insert(piece)),
            _ => self.drop_part(piece),
        }
    }

    /// Drops every block that a peer sent and that is not verified.
    pub(super) fn forget(&mut self, id: ConnectionId) {
        let pieces: Vec<u32> = self.parts.keys().copied().collect();
        for piece in pieces {
            if let Some(part) = self.parts.get_mut(&piece) {
                part.forget(id);
            }
            self.settle(piece);
        }
    }

    /// Takes a complete piece out, to be verified. Returns its bytes and the part's owner.
    pub(super) fn finish(&mut self, piece: u32, now: Duration) -> Option<(Vec<u8>, Sources)> {
        let part = self.parts.remove(&piece)?;
        self.orphans.remove(&piece);
        let seconds = now.saturating_sub(part.since).as_secs_f64();
        self.piece_time =
            if self.piece_time == 0.0 { seconds } else { self.piece_time + 0.1 * (seconds - self.piece_time) };
        self.patience = (self.patience * 0.9).max(1.0);
        let (bytes, sources) = part.finish();
        self.checking.insert(piece, sources.clone());
        Some((bytes, sources))
    }

    /// Notes the end of a verification. Returns who sent the piece.
    pub(super) fn checked(&mut self, piece: u32, stored: bool) -> Option<Sources> {
        let sources = self.checking.remove(&piece)?;
        self.busy.remove(piece);
        if stored {
            self.held.insert(piece);
            self.whole.remove(&piece);
        }
        Some(sources)
    }
}
