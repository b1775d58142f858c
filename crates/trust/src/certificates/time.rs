//! The time that certificates are judged by: the clock, with a floor.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use chrono::{DateTime, Utc};
use rustls::time_provider::TimeProvider;
use rustls_pki_types::UnixTime;
use service_kit::Clock;

use crate::refusal::{Refusal, Why};

/// The current time by the clock, and by clock and floor.
///
/// The floor protects a machine whose clock was set back from accepting expired data. But stolen online keys of head office
/// can raise it by years, and the root that resets it arrives over the connections that are judged by it. So the floor alone
/// must not end those connections: a server's certificate, and the machine's own, count as expired only if both times say so
/// ([`Times::hold`]). What a server sends is proven by other signatures; clients are judged by the later time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Times {
    /// The clock's time.
    pub clock: DateTime<Utc>,
    /// The later of the clock and the newest verified time.
    pub latest: DateTime<Utc>,
}

impl From<DateTime<Utc>> for Times {
    /// Without a floor.
    fn from(now: DateTime<Utc>) -> Self {
        Self { clock: now, latest: now }
    }
}

impl Times {
    /// Combines the clock's time with the floor.
    pub fn new(clock: DateTime<Utc>, floor: DateTime<Utc>) -> Self {
        Self { clock, latest: clock.max(floor) }
    }

    /// Judges at the later of clock and floor; if only expiry fails, judges again at clock time.
    ///
    /// # Errors
    /// As `judge`.
    pub fn hold<T>(&self, judge: impl Fn(DateTime<Utc>) -> Result<T, Refusal>) -> Result<T, Refusal> {
        match judge(self.latest) {
            Err(refusal) if refusal.why() == Why::CertificateExpired && self.clock < self.latest => judge(self.clock),
            judged => judged,
        }
    }
}

/// The age of a certificate that is renewed over the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Age {
    /// No renewal is due.
    Young,
    /// Two thirds of its lifetime have passed: renewal is due.
    Old,
    /// It is expired or not valid yet; only its key still proves the identity.
    Over,
}

impl Age {
    /// Returns the age of a certificate valid from `from` until `until`.
    ///
    /// Expired by the floor alone counts as old: a server may still accept it.
    pub fn of((from, until): (DateTime<Utc>, DateTime<Utc>), times: Times) -> Self {
        let is_valid = |now: DateTime<Utc>| (from..until).contains(&now);
        match times {
            Times { clock, latest } if !is_valid(latest) && !is_valid(clock) => Self::Over,
            Times { latest, .. } if latest < from + (until - from) / 3 * 2 => Self::Young,
            _ => Self::Old,
        }
    }
}

/// The clock with a floor: never earlier than the newest verified time.
///
/// Clones share the floor.
#[derive(Clone)]
pub struct FleetTime {
    clock: Arc<dyn Clock>,
    floor: Arc<AtomicI64>,
}

impl fmt::Debug for FleetTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FleetTime({})", self.now())
    }
}

impl FleetTime {
    /// Combines `clock` with an initial floor.
    pub fn new(clock: Arc<dyn Clock>, floor: DateTime<Utc>) -> Self {
        Self { clock, floor: Arc::new(AtomicI64::new(floor.timestamp())) }
    }

    /// Sets the floor: [`crate::client::Client::floor`] after each update.
    pub fn set_floor(&self, floor: DateTime<Utc>) {
        self.floor.store(floor.timestamp(), Ordering::Relaxed);
    }

    /// Returns the time to judge by.
    pub fn now(&self) -> DateTime<Utc> {
        self.times().latest
    }

    /// Returns both times.
    pub fn times(&self) -> Times {
        let floor = DateTime::from_timestamp(self.floor.load(Ordering::Relaxed), 0).unwrap_or_default();
        Times::new(self.clock.now(), floor)
    }
}

impl TimeProvider for FleetTime {
    fn current_time(&self) -> Option<UnixTime> {
        let seconds = u64::try_from(self.now().timestamp()).ok()?;
        Some(UnixTime::since_unix_epoch(Duration::from_secs(seconds)))
    }
}
