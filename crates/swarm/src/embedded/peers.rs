//! The connections of one torrent.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use super::connection::Outbox;
use super::{Block, ConnectionId, Event, Message};
use crate::Peer;

/// One connected peer.
#[derive(Debug)]
pub(crate) struct Connected {
    pub(crate) address: SocketAddr,
    pub(crate) peer_id: [u8; 20],
    /// We dialled it, at this address.
    pub(crate) dialled: bool,
    pub(crate) since: Duration,
    pub(crate) outbox: Arc<Outbox>,
    /// Pieces it said it has.
    has: u32,
    down: Rate,
    up: Rate,
}

#[derive(Debug, Default)]
struct Rate {
    total: u64,
    measured: u64,
    now: u64,
}

impl Rate {
    fn measure(&mut self, elapsed: Duration) {
        let bytes = self.total - self.measured;
        self.measured = self.total;
        let millis = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX).max(1);
        self.now = bytes.saturating_mul(1000) / millis;
    }
}

/// The connections of one torrent, by their ids.
#[derive(Debug)]
pub(crate) struct Peers {
    pieces: u32,
    next: u64,
    all: BTreeMap<ConnectionId, Connected>,
    measured: Duration,
}

impl Peers {
    /// None yet, of a torrent with this many pieces.
    pub(crate) fn new(pieces: u32) -> Self {
        Self { pieces, next: 0, all: BTreeMap::new(), measured: Duration::ZERO }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    pub(crate) fn count(&self) -> u32 {
        u32::try_from(self.all.len()).unwrap_or(u32::MAX)
    }

    /// How many connections there are with a host.
    pub(crate) fn of_host(&self, host: IpAddr) -> usize {
        self.all.values().filter(|peer| peer.address.ip() == host).count()
    }

    /// The connection with this peer of this host.
    pub(crate) fn same(&self, peer_id: &[u8; 20], host: IpAddr) -> Option<(ConnectionId, bool)> {
        let same = |peer: &Connected| peer.peer_id == *peer_id && peer.address.ip() == host;
        self.all.iter().find(|(_, peer)| same(peer)).map(|(id, peer)| (*id, peer.dialled))
    }

    /// Takes a connection in.
    pub(crate) fn insert(
        &mut self,
        address: SocketAddr,
        peer_id: [u8; 20],
        dialled: bool,
        now: Duration,
    ) -> (ConnectionId, Arc<Outbox>) {
        self.next += 1;
        let (id, outbox) = (ConnectionId(self.next), Arc::new(Outbox::default()));
        let (down, up) = (Rate::default(), Rate::default());
        let peer = Connected { address, peer_id, dialled, since: now, outbox: outbox.clone(), has: 0, down, up };
        self.all.insert(id, peer);
        (id, outbox)
    }

    /// Ends a connection and forgets it.
    pub(crate) fn remove(&mut self, connection: ConnectionId) -> Option<Connected> {
        self.all.remove(&connection).inspect(|peer| peer.outbox.close())
    }

    /// Queues a message. A peer that does not read is closed; then the event for the core is returned.
    pub(crate) fn send(&mut self, connection: ConnectionId, message: &Message) -> Option<Event> {
        let full = self.all.get(&connection)?.outbox.send(message).is_err();
        if full { self.give_up(connection) } else { None }
    }

    /// As [`Peers::send`], for a block.
    pub(crate) fn upload(&mut self, connection: ConnectionId, block: Block) -> Option<Event> {
        let full = self.all.get(&connection)?.outbox.upload(block).is_err();
        if full { self.give_up(connection) } else { None }
    }

    fn give_up(&mut self, connection: ConnectionId) -> Option<Event> {
        tracing::debug!(connection = connection.0, "a peer that does not read is closed");
        self.remove(connection).map(|_| Event::Closed { connection })
    }

    pub(crate) fn cancel(&mut self, connection: ConnectionId, block: Block) {
        if let Some(peer) = self.all.get(&connection) {
            peer.outbox.cancel(block);
        }
    }

    /// Ends all connections with a host, and returns the events for the core.
    pub(crate) fn close_address(&mut self, host: IpAddr) -> Vec<Event> {
        let of_host: Vec<_> =
            self.all.iter().filter(|(_, peer)| peer.address.ip() == host).map(|(id, _)| *id).collect();
        of_host.into_iter().filter_map(|id| self.give_up(id)).collect()
    }

    /// The ids of all connections.
    pub(crate) fn ids(&self) -> Vec<ConnectionId> {
        self.all.keys().copied().collect()
    }

    /// Counts what a message or a sent block says of a peer; its address, if the connection is still there.
    pub(crate) fn count_event(&mut self, event: &Event) -> Option<IpAddr> {
        let (Event::Received { connection, .. } | Event::Sent { connection, .. } | Event::Closed { connection }) =
            event
        else {
            return None;
        };
        let pieces = self.pieces;
        let peer = self.all.get_mut(connection)?;
        match event {
            Event::Received { message: Message::Piece { data, .. }, .. } => peer.down.total += data.len() as u64,
            Event::Received { message: Message::Have(_), .. } => peer.has = peer.has.saturating_add(1).min(pieces),
            Event::Received { message: Message::Bitfield(bits), .. } => {
                peer.has = bits.iter().map(|byte| byte.count_ones()).sum::<u32>().min(pieces);
            }
            Event::Sent { block, .. } => peer.up.total += u64::from(block.length),
            _ => {}
        }
        Some(peer.address.ip())
    }

    /// Measures the rates since the last time.
    pub(crate) fn measure(&mut self, now: Duration) {
        let elapsed = now.saturating_sub(self.measured);
        self.measured = now;
        for peer in self.all.values_mut() {
            peer.down.measure(elapsed);
            peer.up.measure(elapsed);
        }
    }

    /// Bytes a second received and sent.
    pub(crate) fn rates(&self) -> (u64, u64) {
        self.all.values().fold((0, 0), |(down, up), peer| (down + peer.down.now, up + peer.up.now))
    }

    /// The peers as the engine's users see them.
    pub(crate) fn list(&self) -> Vec<Peer> {
        let peer = |peer: &Connected| Peer {
            address: peer.address,
            client: client_of(&peer.peer_id),
            progress: peer.has as f32 / self.pieces.max(1) as f32,
            rate_down: peer.down.now,
            rate_up: peer.up.now,
        };
        self.all.values().map(peer).collect()
    }
}

/// The client that a peer id names, as far as it can be printed.
fn client_of(peer_id: &[u8; 20]) -> String {
    peer_id.iter().take(8).map(|byte| if byte.is_ascii_graphic() { char::from(*byte) } else { '.' }).collect()
}
