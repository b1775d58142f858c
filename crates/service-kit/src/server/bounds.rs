//! What callers may take: time, connections, bytes, and tries at a join token.

use std::io;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix_web::HttpMessage;
use actix_web::dev::{Payload, ServiceRequest};
use actix_web::error::PayloadError;
use futures_util::stream::{self, StreamExt};

use super::tries::Tries;
use crate::turns::{TooMany, Turn, Turns};

/// Refused join tokens that one address may send at once.
pub const JOIN_TRIES: u32 = 30;

/// How long one of them stays counted: one is forgotten after each such time.
const FORGIVEN_AFTER: Duration = Duration::from_secs(1);

/// Join tokens that are let in from one address at once, and after what time one is forgotten: whole fleets enrol from behind
/// one address, and a machine that asks without end does not load the database.
const JOINS: u32 = 300;
const JOIN_FORGIVEN_AFTER: Duration = Duration::from_millis(100);

/// Requests for certificates of one address that are answered at once, and how many more wait for it.
const JOINING: usize = 2;
const JOINS_WAITING: usize = 1024;

/// Largest body of a route that anybody may ask, in bytes. What is sent to such routes is a request for a certificate, or a name
/// and a password.
pub const MAX_OPEN_BODY: usize = 16 * 1024;

/// The bounds of a listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// How long the head of a request, and then its body, may take to arrive. Routes with a long body have their own.
    pub request: Duration,
    /// How long the other end may go without reading while something waits to be written.
    pub stalled: Duration,
    /// Most connections at once.
    pub connections: usize,
    /// Most of them on which no request was let in yet.
    pub strangers: usize,
    /// Most of those from one address, or one network of IPv6.
    pub strangers_per_address: usize,
    /// New connections of one address at once; then a hundred a second.
    pub new_per_address: u32,
    /// Most connections of one operator or machine.
    pub connections_per_caller: usize,
    /// Most requests of one operator or machine that are answered at once. More of them wait, and many more are refused.
    pub requests_per_caller: usize,
    /// Whose strangers are not counted by address, as there are many behind it; these say in X-Forwarded-For who asks.
    pub trusted_proxies: Arc<[IpAddr]>,
}

impl Limits {
    /// Whether this is the address of a trusted proxy.
    pub(super) fn trusts(&self, address: IpAddr) -> bool {
        self.trusted_proxies.contains(&address.to_canonical())
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            request: Duration::from_secs(30),
            stalled: Duration::from_secs(30),
            connections: 8_000,
            strangers: 1_000,
            strangers_per_address: 128,
            new_per_address: 1_000,
            connections_per_caller: 128,
            requests_per_caller: 8,
            trusted_proxies: Arc::new([]),
        }
    }
}

/// Lets the body fail once `limit` has passed, however little arrives at a time.
pub(super) fn bound_body(request: &mut ServiceRequest, limit: Duration) {
    let body = request.take_payload();
    if matches!(body, Payload::None) {
        return;
    }
    let deadline = crate::clock::instant() + limit;
    let bounded = stream::unfold(Some(body), move |body| async move {
        let mut body = body?;
        match tokio::time::timeout_at(deadline.into(), body.next()).await {
            Ok(next) => next.map(|chunk| (chunk, Some(body))),
            Err(_) => Some((Err(PayloadError::Io(io::ErrorKind::TimedOut.into())), None)),
        }
    });
    request.set_payload(Payload::Stream { payload: Box::pin(bounded) });
}

/// Lets the body fail once it is longer than `most` bytes.
pub(super) fn bound_length(request: &mut ServiceRequest, most: usize) {
    let body = request.take_payload();
    if matches!(body, Payload::None) {
        return;
    }
    let bounded = body.scan(0, move |taken, chunk| {
        let chunk = chunk.and_then(|chunk| {
            *taken += chunk.len();
            if *taken > most { Err(PayloadError::Overflow) } else { Ok(chunk) }
        });
        std::future::ready(Some(chunk))
    });
    request.set_payload(Payload::Stream { payload: Box::pin(bounded) });
}

/// Counts join tokens by address, so that they cannot be guessed and a flood of them does not load the database.
///
/// Who asks by its key alone is not counted: a key cannot be guessed, and a flood of join tokens must not keep machines behind
/// the same address from renewing their certificates. Both take turns.
#[derive(Debug, Clone)]
pub struct Throttle {
    refused: Tries<IpAddr>,
    let_in: Tries<IpAddr>,
    turns: Turns<IpAddr>,
}

impl Default for Throttle {
    fn default() -> Self {
        Self {
            refused: Tries::new(JOIN_TRIES, FORGIVEN_AFTER),
            let_in: Tries::new(JOINS, JOIN_FORGIVEN_AFTER),
            turns: Turns::new(JOINING, JOINS_WAITING),
        }
    }
}

impl Throttle {
    /// Waits until a request of this address may be answered.
    ///
    /// # Errors
    /// Too many wait already.
    pub(super) async fn turn(&self, address: IpAddr) -> Result<Turn<IpAddr>, TooMany> {
        self.turns.take(network(address)).await
    }

    /// Counts one try of this address as refused until it is known to be none.
    ///
    /// # Errors
    /// How long this address has to wait.
    pub(super) fn begin(&self, address: IpAddr, now: Instant) -> Result<(), Duration> {
        let network = network(address);
        self.let_in.must_wait(&network, now).map_or(Ok(()), Err)?;
        self.refused.begin(network, now)
    }

    /// The last one begun was not refused.
    pub(super) fn forgive(&self, address: IpAddr) {
        self.refused.forgive(&network(address));
    }

    /// One more was let in.
    pub(super) fn let_in(&self, address: IpAddr, now: Instant) {
        self.let_in.refused(network(address), now);
    }
}

/// What callers are told apart by: an IPv4 address, or an IPv6 network, as who has one address of it has 2^64.
pub fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX))),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_waits_after_its_tries_and_another_does_not() {
        let (throttle, now) = (Throttle::default(), Instant::now());
        let [one, two] = ["10.0.0.1", "10.0.0.2"].map(|text| text.parse().unwrap());
        for _ in 0..JOIN_TRIES {
            assert_eq!(throttle.begin(one, now), Ok(()));
        }
        assert!(throttle.begin(one, now).is_err());
        for _ in 0..JOINS {
            assert_eq!(throttle.begin(two, now), Ok(()));
            throttle.forgive(two);
            throttle.let_in(two, now);
        }
        assert!(throttle.begin(two, now).is_err());
        assert_eq!(throttle.begin(two, now + JOIN_FORGIVEN_AFTER), Ok(()));
    }

    #[test]
    fn a_network_of_ipv6_is_one_address() {
        let of = |text: &str| network(text.parse().unwrap());
        assert_eq!(of("fd00::1"), of("fd00::ffff:1"));
        assert_ne!(of("fd00::1"), of("fd00:0:0:1::1"));
        assert_eq!(of("::ffff:10.0.0.1"), of("10.0.0.1"));
    }
}
