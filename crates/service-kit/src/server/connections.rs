//! How many connections a listener holds: in all, of strangers, of strangers at one address, and of one caller.
//!
//! A connection begins as a stranger's. The first request that the guard lets in makes it its caller's, so that what strangers
//! do is bounded without bounding who is known: many branches may stand behind one address.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::bounds::{Limits, network};
use super::tries::Tries;
use crate::clock::instant;
use crate::turns::{TooMany, Turn, Turns};

/// How often the log says that connections are refused: a stranger can cause as many refusals as it likes.
const NEWS_EVERY: Duration = Duration::from_secs(60);

/// The time after which a new connection of an address is forgotten: a hundred handshakes a second cost a fifth of a processor.
const NEW_FORGIVEN_AFTER: Duration = Duration::from_millis(10);

/// Requests of one machine whose caller is looked up at once: each takes a connection of the database.
const LOOKUPS: usize = 2;

/// Which bound is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Full {
    /// That of all connections.
    All,
    /// That of strangers.
    Strangers,
    /// That of strangers at one address.
    Address,
    /// That of new ones from one address in a time.
    Pace,
    /// That of one caller.
    Caller,
}

impl Full {
    /// Those by which a connection is refused; the others refuse a request on one.
    pub(super) const OF_CONNECTIONS: [Self; 4] = [Self::All, Self::Strangers, Self::Address, Self::Pace];

    /// As metrics name it.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Strangers => "strangers",
            Self::Address => "address",
            Self::Pace => "pace",
            Self::Caller => "caller",
        }
    }
}

/// The connections of a listener.
#[derive(Debug)]
pub(super) struct Connections {
    limits: Limits,
    counts: Mutex<Counts>,
    /// New ones by address: each costs a handshake.
    pace: Tries<IpAddr>,
    /// Of requests whose caller is looked up, by holder.
    lookups: Turns<String>,
    /// Of requests, by caller.
    turns: Turns<String>,
    /// When the log last said that one was refused.
    told: Mutex<Option<Instant>>,
    /// When it last said that a machine does not trust this server.
    told_distrust: Mutex<Option<Instant>>,
}

#[derive(Debug, Default)]
struct Counts {
    all: usize,
    strangers: usize,
    addresses: HashMap<IpAddr, usize>,
    callers: HashMap<String, usize>,
}

/// Whose a connection is.
#[derive(Debug, PartialEq, Eq)]
enum Holder {
    /// Of one at this address; none for a proxy, whose strangers are not told apart.
    Stranger(Option<IpAddr>),
    Caller(String),
}

/// A connection that is counted as long as this lives.
#[derive(Debug)]
pub(super) struct Place {
    of: Arc<Connections>,
    holder: Mutex<Holder>,
}

impl Connections {
    pub(super) fn new(limits: Limits) -> Arc<Self> {
        let turns = Turns::new(limits.requests_per_caller, limits.connections_per_caller);
        let lookups = Turns::new(LOOKUPS, usize::MAX);
        let pace = Tries::new(limits.new_per_address, NEW_FORGIVEN_AFTER);
        Arc::new(Self {
            limits,
            counts: Mutex::default(),
            pace,
            lookups,
            turns,
            told: Mutex::default(),
            told_distrust: Mutex::default(),
        })
    }

    /// Takes a place for a connection from this address.
    ///
    /// # Errors
    /// Too many have one.
    pub(super) fn take(self: &Arc<Self>, address: IpAddr) -> Result<Place, Full> {
        let counted = (!self.limits.trusts(address)).then(|| network(address));
        let mut counts = self.counts();
        if counts.all >= self.limits.connections {
            return Err(Full::All);
        }
        if counts.strangers >= self.limits.strangers.min(self.limits.connections / 2) {
            return Err(Full::Strangers);
        }
        if let Some(address) = counted {
            self.pace.begin(address, instant()).map_err(|_| Full::Pace)?;
            add(&mut counts.addresses, address, self.limits.strangers_per_address).ok_or(Full::Address)?;
        }
        counts.all += 1;
        counts.strangers += 1;
        Ok(Place { of: Arc::clone(self), holder: Mutex::new(Holder::Stranger(counted)) })
    }

    /// Whether the log should say that one was refused.
    pub(super) fn is_news(&self) -> bool {
        is_due(&self.told)
    }

    /// Whether the log should say that a machine does not trust this server.
    pub(super) fn is_distrust_news(&self) -> bool {
        is_due(&self.told_distrust)
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        // Every change below is whole before anything can panic.
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether the log was silent for long enough; if so, it speaks now.
fn is_due(told: &Mutex<Option<Instant>>) -> bool {
    let (now, mut told) = (instant(), told.lock().unwrap_or_else(PoisonError::into_inner));
    let is_due = told.is_none_or(|at| now.saturating_duration_since(at) >= NEWS_EVERY);
    if is_due {
        *told = Some(now);
    }
    is_due
}

impl Place {
    /// Makes the connection this caller's.
    ///
    /// # Errors
    /// The caller has too many others.
    pub(super) fn belongs_to(&self, caller: &str) -> Result<(), Full> {
        let mut holder = self.holder.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(&*holder, Holder::Caller(known) if known == caller) {
            return Ok(());
        }
        let mut counts = self.of.counts();
        add(&mut counts.callers, caller.to_owned(), self.of.limits.connections_per_caller).ok_or(Full::Caller)?;
        counts.leave(&holder);
        *holder = Holder::Caller(caller.to_owned());
        Ok(())
    }

    /// Waits until the same machine's other requests leave room to look up whose this one is. None waits in vain.
    pub(super) async fn lookup(&self) -> Option<Turn<String>> {
        let holder = format!("{:?}", self.holder.lock().unwrap_or_else(PoisonError::into_inner));
        self.of.lookups.take(holder).await.ok()
    }

    /// Waits until the caller's other requests leave room for one more.
    ///
    /// # Errors
    /// Too many wait already.
    pub(super) async fn turn(&self, caller: String) -> Result<Turn<String>, TooMany> {
        self.of.turns.take(caller).await
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let holder = self.holder.get_mut().unwrap_or_else(PoisonError::into_inner);
        let mut counts = self.of.counts();
        counts.all -= 1;
        counts.leave(holder);
    }
}

impl Counts {
    fn leave(&mut self, holder: &Holder) {
        match holder {
            Holder::Stranger(address) => {
                self.strangers -= 1;
                if let Some(address) = address {
                    remove(&mut self.addresses, address);
                }
            }
            Holder::Caller(caller) => remove(&mut self.callers, caller),
        }
    }
}

/// Counts one more, if there are fewer than `most`.
fn add<K: Eq + Hash>(counts: &mut HashMap<K, usize>, key: K, most: usize) -> Option<()> {
    match counts.get_mut(&key) {
        Some(count) if *count >= most => return None,
        Some(count) => *count += 1,
        None => drop(counts.insert(key, 1)),
    }
    Some(())
}

fn remove<K: Eq + Hash>(counts: &mut HashMap<K, usize>, key: &K) {
    if let Some(count) = counts.get_mut(key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    fn limits() -> Limits {
        let proxy = "10.9.9.9".parse().unwrap();
        Limits {
            connections: 8,
            strangers: 4,
            strangers_per_address: 2,
            connections_per_caller: 2,
            trusted_proxies: Arc::new([proxy]),
            ..Limits::default()
        }
    }

    fn take(of: &Arc<Connections>, address: &str) -> Result<Place, Full> {
        of.take(address.parse().unwrap())
    }

    #[test]
    fn strangers_are_bounded_by_address_and_together() {
        let of = Connections::new(limits());
        let (one, two) = (take(&of, "10.0.0.1").unwrap(), take(&of, "10.0.0.1").unwrap());
        assert_eq!(take(&of, "::ffff:10.0.0.1").unwrap_err(), Full::Address);
        let others = (take(&of, "fd00::1").unwrap(), take(&of, "fd00::2").unwrap());
        assert_eq!(take(&of, "10.0.0.2").unwrap_err(), Full::Strangers);
        drop(one);
        let again = take(&of, "10.0.0.1").unwrap();
        drop((two, others, again));
        assert!(of.counts().addresses.is_empty() && of.counts().all == 0 && of.counts().strangers == 0);
    }

    #[tokio::test]
    async fn one_machine_is_looked_up_a_few_times_at_once_and_another_need_not_wait() {
        let of = Connections::new(Limits { connections: 20, strangers: 10, ..limits() });
        let [one, other] = ["a", "b"].map(|name| {
            let place = take(&of, "10.0.0.1").unwrap();
            place.belongs_to(name).unwrap();
            place
        });
        let turns = (one.lookup().await, one.lookup().await);
        assert!(one.lookup().now_or_never().is_none());
        assert!(other.lookup().now_or_never().is_some());
        drop(turns);
        assert!(one.lookup().now_or_never().is_some());
    }

    #[test]
    fn new_connections_of_one_address_are_bounded_in_a_time() {
        let of = Connections::new(Limits { new_per_address: 1000, ..limits() });
        // Each ends at once, as in a flood of handshakes.
        let begun = instant();
        let refused = (0..20_000).filter(|_| matches!(take(&of, "10.0.0.1"), Err(Full::Pace))).count();
        let forgiven = begun.elapsed().as_millis() / NEW_FORGIVEN_AFTER.as_millis() + 1;
        assert!(refused > 0 && 20_000 - refused <= 1000 + usize::try_from(forgiven).unwrap(), "{refused}");
        drop(take(&of, "10.0.0.2").unwrap());
        drop(take(&of, "10.9.9.9").unwrap());
    }

    #[test]
    fn who_is_known_no_longer_counts_as_a_stranger() {
        let of = Connections::new(limits());
        let known: Vec<Place> = ["a", "a", "b", "b", "e", "e"]
            .map(|name| {
                let place = take(&of, "10.0.0.1").unwrap();
                place.belongs_to(name).unwrap();
                place.belongs_to(name).unwrap();
                place
            })
            .into();
        assert_eq!(of.counts().strangers, 0);
        let stranger = take(&of, "10.0.0.1").unwrap();
        assert_eq!(stranger.belongs_to("a").unwrap_err(), Full::Caller);
        assert_eq!(of.counts().strangers, 1, "it stays what it was");
        // A proxy's connection carries one caller after the other.
        stranger.belongs_to("c").unwrap();
        stranger.belongs_to("d").unwrap();
        assert_eq!(of.counts().callers.get("c"), None);
        let _last = take(&of, "10.0.0.2").unwrap();
        assert_eq!(take(&of, "10.0.0.3").unwrap_err(), Full::All);
        drop((known, stranger));
        assert!(of.counts().callers.is_empty());
    }

    #[test]
    fn strangers_behind_a_trusted_proxy_are_not_counted_by_its_address() {
        let of = Connections::new(limits());
        let all: Vec<Place> = (0..4).map(|_| take(&of, "10.9.9.9").unwrap()).collect();
        assert_eq!(take(&of, "10.9.9.9").unwrap_err(), Full::Strangers);
        drop(all);
        assert_eq!(of.counts().strangers, 0);
    }
}
