//! The time by which certificates are judged: the clock, with a floor.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use chrono::{DateTime, Utc};
use rustls::time_provider::TimeProvider;
use rustls_pki_types::UnixTime;
use service_kit::Clock;

use crate::refusal::{Refusal, Why};

/// One instant, as the clock has it and as the floor does.
///
/// The floor keeps a clock that was set back from believing what is over. But a thief of head office's online keys can raise
/// it by years, and the root that resets it comes over the very connections that are judged by it. So what depends on the
/// floor alone must not end a connection to those who bring the root: a server's certificate, and one's own, are taken for
/// expired only if both times say so ([`Times::hold`]). What a server says is proven by other signatures; clients are judged
/// by the later time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Times {
    /// What the clock says.
    pub clock: DateTime<Utc>,
    /// The clock, or the newest time ever verified if that is later.
    pub latest: DateTime<Utc>,
}

impl From<DateTime<Utc>> for Times {
    /// Where nothing else is known of the time.
    fn from(now: DateTime<Utc>) -> Self {
        Self { clock: now, latest: now }
    }
}

impl Times {
    /// The instant at which a clock says `clock`, where nothing before `floor` is believed.
    pub fn new(clock: DateTime<Utc>, floor: DateTime<Utc>) -> Self {
        Self { clock, latest: clock.max(floor) }
    }

    /// What `judge` says at the later time; if that is that a certificate's time is over, what it says at the clock's.
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

/// The clock, or the newest time ever verified if the clock is behind it. Clones share the floor.
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
    /// `clock`, but never before `floor`.
    pub fn new(clock: Arc<dyn Clock>, floor: DateTime<Utc>) -> Self {
        Self { clock, floor: Arc::new(AtomicI64::new(floor.timestamp())) }
    }

    /// Sets the floor: [`crate::client::Client::floor`] after each update.
    pub fn set_floor(&self, floor: DateTime<Utc>) {
        self.floor.store(floor.timestamp(), Ordering::Relaxed);
    }

    /// The time to judge by.
    pub fn now(&self) -> DateTime<Utc> {
        self.times().latest
    }

    /// The time, with what the clock alone says of it.
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
