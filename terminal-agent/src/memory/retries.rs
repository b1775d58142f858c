//! Which packages failed, and when each may be tried again.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::model::package::Key;

/// Packages that failed. Times are times since the machine started.
#[derive(Debug, Default)]
pub struct Retries {
    /// How often each failed in a row, and when it may be tried again.
    until: BTreeMap<Key, (u32, Duration)>,
    /// When progress may be noted again.
    pub note_at: Duration,
}

impl Retries {
    /// How long until it may be tried again; zero is now.
    pub fn left(&self, key: &str, now: Duration) -> Duration {
        self.until.get(key).map_or(Duration::ZERO, |(_, until)| until.saturating_sub(now))
    }

    /// Counts a failure, and returns how many there were in a row.
    pub fn failed(&mut self, key: &str) -> u32 {
        let (count, _) = self.until.entry(key.to_owned()).or_default();
        *count = count.saturating_add(1);
        *count
    }

    /// Sets when it may be tried again.
    pub fn hold(&mut self, key: &str, until: Duration) {
        self.until.entry(key.to_owned()).or_default().1 = until;
    }

    /// Forgets its failures.
    pub fn worked(&mut self, key: &str) {
        self.until.remove(key);
    }

    /// Everything may be tried again now.
    pub fn wake(&mut self) {
        self.until.values_mut().for_each(|(_, until)| *until = Duration::ZERO);
    }
}
