//! How connections come to a torrent and leave it, and what it says of itself.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::connection::{Connection, Joined, Note};
use super::net::{Crowded, Place, replaces};
use super::task::{Phase, Task};
use super::{Event, Handshake, Message};
use crate::{PieceSet, TorrentStatus};

/// Most connections of one torrent with one address.
const MAX_OF_ADDRESS: usize = 4;
/// Most addresses dialled in one look.
const DIALS: usize = 16;

impl Task {
    /// Takes in a connection whose handshakes are done.
    pub(super) fn join(&mut self, joined: Joined) {
        let Joined { stream, address, peer_id, dialled, place } = joined;
        let now = self.shared.now();
        let host = address.ip();
        if let Some((old, old_is_ours)) = self.peers.same(&peer_id, host) {
            if !replaces(&self.shared.peer_id, &peer_id, old_is_ours, dialled) {
                return self.ended(address, dialled, false, now);
            }
            self.left_by(old);
            self.event(Event::Closed { connection: old });
        }
        let Some(loaded) = self.loaded.as_ref().filter(|_| self.peers.of_host(host) < MAX_OF_ADDRESS) else {
            return self.ended(address, dialled, true, now);
        };
        let storage = loaded.storage.clone();
        let (id, outbox) = self.peers.insert(address, peer_id, dialled, now);
        if let (true, SocketAddr::V4(address)) = (dialled, address) {
            self.dials.reached(address);
        }
        self.active(now);
        let connection = Connection {
            id,
            shape: self.shape,
            outbox,
            storage,
            lanes: self.shared.lanes(host),
            clock: self.shared.clock.clone(),
            notes: self.notes_sender.clone(),
        };
        tokio::spawn(connection.run(stream, place));
        let upstream = self.shared.is_upstream(host);
        self.event(Event::Connected { connection: id, address, upstream });
    }

    /// Ends all connections. The core is gone or knows already.
    pub(super) fn leave_all(&mut self) {
        self.peers.ids().into_iter().for_each(|connection| self.left_by(connection));
    }

    pub(super) fn not_reached(&mut self, address: SocketAddr, is_self: bool) {
        let SocketAddr::V4(address) = address else { return };
        if is_self {
            self.dials.own(address);
        } else {
            self.dials.ended(address, true, self.shared.now());
        }
    }

    /// Passes on what a connection says, unless it was closed meanwhile.
    pub(super) fn peer_event(&mut self, event: Event) {
        let Some(host) = self.peers.count_event(&event) else { return };
        let now = self.shared.now();
        match &event {
            Event::Received { message: Message::Piece { data, .. }, .. } => {
                self.record.received += data.len() as u64;
                self.shared.ledger().received(host, data.len() as u64);
                self.active(now);
            }
            Event::Sent { block, .. } => {
                self.record.sent += u64::from(block.length);
                self.shared.ledger().sent(host, u64::from(block.length));
                self.active(now);
            }
            Event::Closed { connection } => self.left_by(*connection),
            _ => {}
        }
        self.event(event);
    }

    /// Dials what is due.
    pub(super) fn dial(&mut self, now: Duration) {
        let due = self.dials.due(now, DIALS, |host| self.peers.of_host(IpAddr::V4(host)));
        for address in due {
            let host = IpAddr::V4(*address.ip());
            let place = if self.shared.may_dial(host) { self.shared.places.enter(host) } else { Err(Crowded::Address) };
            match place {
                Ok(place) => self.spawn_dial(address.into(), place),
                Err(why) => {
                    tracing::debug!(%address, %why, "not dialled");
                    self.dials.ended(address, true, now);
                }
            }
        }
    }

    fn spawn_dial(&self, address: SocketAddr, mut place: Place) {
        let SocketAddr::V4(to) = address else { return };
        let (shared, notes) = (self.shared.clone(), self.notes_sender.clone());
        let ours = Handshake::new(*self.hash.as_bytes(), shared.peer_id);
        tokio::spawn(async move {
            let note = match shared.sockets.dial(to, ours).await {
                Ok((stream, theirs)) if theirs.info_hash == ours.info_hash && theirs.peer_id != ours.peer_id => {
                    place.established();
                    Note::Joined(Box::new(Joined { stream, address, peer_id: theirs.peer_id, dialled: true, place }))
                }
                Ok((_, theirs)) => Note::NotReached { address, is_self: theirs.peer_id == ours.peer_id },
                Err(error) => {
                    tracing::debug!(%address, %error, "a peer was not reached");
                    Note::NotReached { address, is_self: false }
                }
            };
            // A torrent that is gone needs no news.
            let _ = notes.send(note).await;
        });
    }

    pub(super) fn status(&self) -> TorrentStatus {
        let (rate_down, rate_up) = self.peers.rates();
        let (fetching, serving) = self.trackers.counts();
        TorrentStatus {
            have_bytes: self.have_bytes(),
            total_bytes: self.shape.total(),
            piece_length: u64::from(self.shape.piece_length()),
            complete: self.is_complete() && self.disk_trouble.is_none(),
            verifying: matches!(self.phase, Phase::Loading | Phase::Verifying(_)),
            running: !matches!(self.phase, Phase::Failed(_)),
            rate_down,
            rate_up,
            sent_bytes: self.record.sent,
            received_bytes: self.record.received,
            corrupt_bytes: self.record.corrupt,
            peers: self.peers.count(),
            fetching,
            serving,
            trackers: self.trackers.urls(),
            trouble: self.disk_trouble.clone().or_else(|| self.trackers.trouble()),
        }
    }

    /// The pieces that are held and verified.
    pub(super) fn pieces(&self) -> Option<PieceSet> {
        let count = u64::from(self.shape.pieces());
        let set = |bits| PieceSet::new(bits, u64::from(self.shape.piece_length()), self.shape.total()).ok();
        match &self.phase {
            Phase::Open(core) => Some(core.held()),
            Phase::Resting => {
                let mut bits = vec![0xff; count.div_ceil(8) as usize];
                if let (Some(last), true) = (bits.last_mut(), count % 8 > 0) {
                    *last <<= 8 - count % 8;
                }
                set(bits)
            }
            Phase::Loading | Phase::Verifying(_) | Phase::Failed(_) => set(vec![0; count.div_ceil(8) as usize]),
        }
    }
}
