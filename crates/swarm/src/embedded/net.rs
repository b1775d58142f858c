//! Sockets: places for connections, the listener's and the dialler's handshakes.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::net::sockopt::set_ip_tos;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::timeout;

use super::{HANDSHAKE_LENGTH, Handshake};

/// How long connecting and both handshakes may take.
pub(crate) const HANDSHAKE: Duration = Duration::from_secs(10);
/// Most connections with one address, for all torrents.
pub(crate) const MAX_OF_ADDRESS: usize = 64;
/// Most connections whose handshakes are not done, and of them with one address.
pub(crate) const MAX_HALF_OPEN: usize = 64;
pub(crate) const MAX_HALF_OPEN_OF_ADDRESS: usize = 8;

/// Why a connection is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Crowded {
    #[error("too many connections")]
    Total,
    #[error("too many connections with this address")]
    Address,
    #[error("too many unfinished handshakes")]
    HalfOpen,
}

#[derive(Debug, Default, Clone, Copy)]
struct Counts {
    all: usize,
    half_open: usize,
}

#[derive(Debug, Default)]
struct Taken {
    total: Counts,
    by_address: BTreeMap<IpAddr, Counts>,
}

/// The places for connections of an engine.
#[derive(Debug)]
pub(crate) struct Places {
    max: usize,
    taken: Mutex<Taken>,
}

impl Places {
    pub(crate) fn new(max: usize) -> Arc<Self> {
        Arc::new(Self { max, taken: Mutex::default() })
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a place for a connection whose handshakes are still to come.
    pub(crate) fn enter(self: &Arc<Self>, address: IpAddr) -> Result<Place, Crowded> {
        let address = address.to_canonical();
        let mut taken = self.taken();
        let of_address = taken.by_address.get(&address).copied().unwrap_or_default();
        if taken.total.all >= self.max {
            return Err(Crowded::Total);
        }
        if of_address.all >= MAX_OF_ADDRESS {
            return Err(Crowded::Address);
        }
        if taken.total.half_open >= MAX_HALF_OPEN || of_address.half_open >= MAX_HALF_OPEN_OF_ADDRESS {
            return Err(Crowded::HalfOpen);
        }
        for counts in taken.of(address) {
            counts.all += 1;
            counts.half_open += 1;
        }
        Ok(Place { places: self.clone(), address, half_open: true })
    }
}

impl Taken {
    fn of(&mut self, address: IpAddr) -> [&mut Counts; 2] {
        [&mut self.total, self.by_address.entry(address).or_default()]
    }
}

/// The place of one connection; free again when dropped.
#[derive(Debug)]
pub(crate) struct Place {
    places: Arc<Places>,
    address: IpAddr,
    half_open: bool,
}

impl Place {
    /// Notes that the handshakes are done.
    pub(crate) fn established(&mut self) {
        if std::mem::take(&mut self.half_open) {
            self.places.taken().of(self.address).into_iter().for_each(|counts| counts.half_open -= 1);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.established();
        let mut taken = self.places.taken();
        let mut left = 0;
        for counts in taken.of(self.address) {
            counts.all -= 1;
            left = counts.all;
        }
        if left == 0 {
            taken.by_address.remove(&self.address);
        }
    }
}

/// How an engine's sockets are made.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sockets {
    /// Where it listens, and from which address it dials unless that is unspecified.
    pub(crate) listen: SocketAddrV4,
    /// The DSCP of its packets.
    pub(crate) dscp: u8,
}

impl Sockets {
    fn new_socket(self) -> io::Result<TcpSocket> {
        let socket = TcpSocket::new_v4()?;
        set_ip_tos(&socket, self.dscp << 2)?;
        Ok(socket)
    }

    /// Listens.
    pub(crate) fn listen(self) -> io::Result<TcpListener> {
        let socket = self.new_socket()?;
        socket.set_reuseaddr(true)?;
        socket.bind(self.listen.into())?;
        socket.listen(256)
    }

    /// Prepares an accepted connection.
    pub(crate) fn prepare(self, stream: &TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        set_ip_tos(stream, self.dscp << 2)?;
        Ok(())
    }

    /// Connects and exchanges handshakes.
    pub(crate) async fn dial(self, address: SocketAddrV4, ours: Handshake) -> io::Result<(TcpStream, Handshake)> {
        let dial = async {
            let socket = self.new_socket()?;
            if *self.listen.ip() != Ipv4Addr::UNSPECIFIED {
                socket.bind(SocketAddr::from((*self.listen.ip(), 0)))?;
            }
            let mut stream = socket.connect(address.into()).await?;
            stream.set_nodelay(true)?;
            stream.write_all(&ours.encode()).await?;
            let theirs = read_handshake(&mut stream).await?;
            Ok((stream, theirs))
        };
        timeout(HANDSHAKE, dial).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }
}

/// Reads the handshake of the other side.
pub(crate) async fn read_handshake(stream: &mut TcpStream) -> io::Result<Handshake> {
    let mut bytes = [0; HANDSHAKE_LENGTH];
    stream.read_exact(&mut bytes).await?;
    Handshake::decode(&bytes).map_err(io::Error::other)
}

/// Of two connections with one peer, reports if a new one takes the place of the one that is there. Both sides decide alike:
/// the connection stays that the side with the lower peer id dialled, and of two dialled by one side the later.
pub(crate) fn replaces(ours: &[u8; 20], theirs: &[u8; 20], old_is_ours: bool, new_is_ours: bool) -> bool {
    old_is_ours == new_is_ours || new_is_ours == (ours < theirs)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(n: u32) -> IpAddr {
        IpAddr::V4(Ipv4Addr::from_bits(n))
    }

    #[test]
    fn places_are_bounded_in_total_and_by_address_and_freed() {
        let places = Places::new(100);
        let mut held: Vec<Place> = Vec::new();
        for n in 0..MAX_OF_ADDRESS {
            let mut place = places.enter(address(1)).unwrap();
            place.established();
            held.push(place);
            assert!(n < MAX_OF_ADDRESS);
        }
        assert_eq!(places.enter(address(1)).unwrap_err(), Crowded::Address);
        while held.len() < 100 {
            let mut place = places.enter(address(1000 + held.len() as u32)).unwrap();
            place.established();
            held.push(place);
        }
        assert_eq!(places.enter(address(2)).unwrap_err(), Crowded::Total);
        held.clear();
        assert!(places.enter(address(1)).is_ok());
        assert!(places.taken().by_address.is_empty(), "nothing is remembered of who left");
    }

    #[test]
    fn unfinished_handshakes_are_bounded_apart() {
        let places = Places::new(1000);
        let mut held: Vec<Place> = Vec::new();
        for _ in 0..MAX_HALF_OPEN_OF_ADDRESS {
            held.push(places.enter(address(1)).unwrap());
        }
        assert_eq!(places.enter(address(1)).unwrap_err(), Crowded::HalfOpen, "one address leaves room for others");
        while held.len() < MAX_HALF_OPEN {
            held.push(places.enter(address(100 + held.len() as u32)).unwrap());
        }
        assert_eq!(places.enter(address(2)).unwrap_err(), Crowded::HalfOpen);
        held[0].established();
        held[0].established();
        assert!(places.enter(address(2)).is_ok());
    }

    #[test]
    fn both_sides_keep_the_same_of_two_connections() {
        let (low, high) = ([1; 20], [2; 20]);
        for first_by_low in [true, false] {
            // The second connection was dialled by the other side.
            let at_low = replaces(&low, &high, first_by_low, !first_by_low);
            let at_high = replaces(&high, &low, !first_by_low, first_by_low);
            assert_eq!(at_low, at_high);
            assert_eq!(at_low, !first_by_low, "the one that the lower dialled stays");
            // A side dials again only if its earlier connection is dead.
            assert!(replaces(&low, &high, first_by_low, first_by_low));
        }
    }
}
