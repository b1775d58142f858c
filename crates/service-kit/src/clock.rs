//! The clock as an argument (invariant 8).

use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};

/// Where a program learns the time.
pub trait Clock: Send + Sync {
    /// The time now.
    fn now(&self) -> DateTime<Utc>;

    /// The time that no change of the clock moves; none if this clock has none.
    fn uptime(&self) -> Option<Uptime> {
        None
    }
}

/// Time since the machine started, suspended time included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Uptime {
    /// Of which boot.
    pub boot_id: String,
    /// The time.
    pub time: TimeDelta,
}

/// The machine's clock: the only place that reads it.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the Clock adapter")]
    fn now(&self) -> DateTime<Utc> {
        // PostgreSQL keeps microseconds: cut here, so that a time compares equal after it was stored.
        let now = Utc::now();
        DateTime::from_timestamp_micros(now.timestamp_micros()).unwrap_or(now)
    }

    fn uptime(&self) -> Option<Uptime> {
        let boot_id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?.trim().to_owned();
        let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        Some(Uptime { boot_id, time: TimeDelta::seconds(time.tv_sec) })
    }
}

/// Returns the monotonic clock's time, for deadlines and rates.
pub fn instant() -> Instant {
    Instant::now()
}

/// Measures how long something takes, unaffected by changes of the wall clock.
#[derive(Debug, Clone, Copy)]
pub struct Stopwatch(Instant);

impl Stopwatch {
    /// Starts measuring.
    pub fn start() -> Self {
        Self(instant())
    }

    /// Returns the time since the start.
    pub fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}

/// A clock that stands until it is moved.
#[derive(Debug)]
pub struct FixedClock(Mutex<DateTime<Utc>>);

impl FixedClock {
    /// A clock that shows `now`.
    pub fn new(now: DateTime<Utc>) -> Self {
        Self(Mutex::new(now))
    }

    /// Sets it, also backwards.
    pub fn set(&self, now: DateTime<Utc>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = now;
    }

    /// Moves it on by `by`.
    pub fn advance(&self, by: TimeDelta) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) += by;
    }
}

impl Clock for FixedClock {
    fn now(&self) -> DateTime<Utc> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
