//! What strangers may take: time for a request, and tries at a join token.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use actix_web::HttpMessage;
use actix_web::dev::{Payload, ServiceRequest};
use actix_web::error::PayloadError;
use futures_util::stream::{self, StreamExt};

/// Refused join tokens that one address may send at once.
pub const JOIN_TRIES: u32 = 30;

/// How long one of them stays counted: one is forgotten after each such time.
const FORGIVEN_AFTER: Duration = Duration::from_secs(1);

/// Most addresses that are told apart. Beyond it all others share one count.
const MAX_ADDRESSES: usize = 10_000;

/// The bounds of a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// How long the head of a request, and then its body, may take to arrive. Routes with a long body have their own.
    pub request: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { request: Duration::from_secs(30) }
    }
}

/// Lets the body fail once `limit` has passed, however little arrives at a time.
pub(super) fn bound_body(request: &mut ServiceRequest, limit: Duration) {
    let body = request.take_payload();
    if matches!(body, Payload::None) {
        return;
    }
    let deadline = Instant::now() + limit;
    let bounded = stream::unfold(Some(body), move |body| async move {
        let mut body = body?;
        match tokio::time::timeout_at(deadline.into(), body.next()).await {
            Ok(next) => next.map(|chunk| (chunk, Some(body))),
            Err(_) => Some((Err(PayloadError::Io(io::ErrorKind::TimedOut.into())), None)),
        }
    });
    request.set_payload(Payload::Stream { payload: Box::pin(bounded) });
}

/// Counts refused join tokens by address, so that none can be guessed and a flood of them costs no database.
#[derive(Debug, Clone, Default)]
pub struct Throttle(Arc<Mutex<HashMap<IpAddr, Count>>>);

#[derive(Debug, Clone, Copy)]
struct Count {
    /// So many are held against the address …
    refused: u32,
    /// … as of then.
    at: Instant,
}

impl Count {
    fn now(self, now: Instant) -> Self {
        let forgiven = now.duration_since(self.at).as_secs() / FORGIVEN_AFTER.as_secs();
        let forgiven = u32::try_from(forgiven).unwrap_or(u32::MAX);
        Self { refused: self.refused.saturating_sub(forgiven), at: self.at + FORGIVEN_AFTER * forgiven.min(1 << 20) }
    }
}

impl Throttle {
    /// How long this address has to wait; none if it may try.
    pub(super) fn must_wait(&self, address: IpAddr, now: Instant) -> Option<Duration> {
        let counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = counts.get(&key(address)).or_else(|| counts.get(&OTHERS).filter(|_| counts.len() > MAX_ADDRESSES));
        known.filter(|c| c.now(now).refused >= JOIN_TRIES).map(|_| FORGIVEN_AFTER)
    }

    /// One more was refused.
    pub(super) fn refused(&self, address: IpAddr, now: Instant) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if counts.len() >= MAX_ADDRESSES {
            counts.retain(|_, count| count.now(now).refused > 0);
        }
        let address = key(address);
        let known = counts.contains_key(&address) || counts.len() < MAX_ADDRESSES;
        let count = counts.entry(if known { address } else { OTHERS }).or_insert(Count { refused: 0, at: now });
        *count = count.now(now);
        count.refused += 1;
    }
}

/// Stands for all addresses beyond the bound.
const OTHERS: IpAddr = IpAddr::V6(Ipv6Addr::UNSPECIFIED);

/// Who has one IPv6 address has 2^64 of them.
fn key(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX))),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(n: u32) -> IpAddr {
        IpAddr::V4(std::net::Ipv4Addr::from_bits(n + 1))
    }

    #[test]
    fn an_address_waits_after_its_tries_and_another_does_not() {
        let (throttle, now) = (Throttle::default(), Instant::now());
        for _ in 0..JOIN_TRIES {
            assert_eq!(throttle.must_wait(address(1), now), None);
            throttle.refused(address(1), now);
        }
        assert!(throttle.must_wait(address(1), now).is_some() && throttle.must_wait(address(2), now).is_none());
        let later = now + FORGIVEN_AFTER;
        assert_eq!(throttle.must_wait(address(1), later), None, "one is forgiven");
        throttle.refused(address(1), later);
        assert!(throttle.must_wait(address(1), later).is_some());
    }

    #[test]
    fn a_flood_from_everywhere_is_bounded_and_ends() {
        let (throttle, now) = (Throttle::default(), Instant::now());
        for n in 0..20_000 {
            throttle.refused(address(n), now);
        }
        assert!(throttle.0.lock().unwrap().len() <= MAX_ADDRESSES + 1);
        assert!(throttle.must_wait(address(30_000), now).is_some(), "strangers share a count");
        let later = now + Duration::from_secs(20_000);
        throttle.refused(address(7), later);
        assert_eq!(throttle.must_wait(address(30_000), later), None);
        assert_eq!(throttle.0.lock().unwrap().len(), 1);
    }

    #[test]
    fn a_network_of_ipv6_is_one_address() {
        let of = |text: &str| key(text.parse().unwrap());
        assert_eq!(of("fd00::1"), of("fd00::ffff:1"));
        assert_ne!(of("fd00::1"), of("fd00:0:0:1::1"));
        assert_eq!(of("::ffff:10.0.0.1"), of("10.0.0.1"));
    }
}
