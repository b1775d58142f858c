//! Tells time that passed from a clock that jumped, for work that deletes what is old enough.
//!
//! A clock without a battery, or a wrong time server, can show 2069 for a minute. What is deleted by then is gone. So an
//! age counts only from the last jump on: after one, everything is kept for its full time once more. A long stop looks the
//! same: a stopped program cannot tell.

use std::path::{Path, PathBuf};

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use crate::durable;
use crate::edge::chain;

/// The file in a program's state folder.
const FILE: &str = "steady.json";

/// A step up to this is never a jump: branch servers that are off at night and over a weekend's day must still come to delete.
const NEVER_A_JUMP: TimeDelta = TimeDelta::hours(36);

/// How far the stored time may be behind the time in memory.
const STORE_EVERY: TimeDelta = TimeDelta::hours(1);

/// A stretch of time in which the clock did not jump.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Stretch {
    since: DateTime<Utc>,
    seen: DateTime<Utc>,
}

impl Stretch {
    fn begin(now: DateTime<Utc>) -> Self {
        Self { since: now, seen: now }
    }

    /// A step of more than `longest`, forwards or back, is a jump.
    fn look(self, now: DateTime<Utc>, longest: TimeDelta) -> Self {
        if now.signed_duration_since(self.seen).abs() > longest {
            return Self::begin(now);
        }
        Self { since: self.since.min(now), seen: now }
    }
}

/// Watches the clock for jumps, across restarts.
#[derive(Debug)]
pub struct SteadyTime {
    path: PathBuf,
    /// A longer step is a jump.
    longest: TimeDelta,
    stored: Option<Stretch>,
    now: Option<Stretch>,
}

impl SteadyTime {
    /// Continues with what the file `steady.json` in the folder holds, for what is deleted at the age of `kept`. Without a
    /// valid file the time begins at the first look.
    pub fn open(state_folder: &Path, kept: TimeDelta) -> Self {
        let path = state_folder.join(FILE);
        let longest = (kept / 2).max(NEVER_A_JUMP);
        let stored = std::fs::read(&path).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
        Self { path, longest, stored, now: stored }
    }

    /// Returns since when the clock has run without a jump.
    ///
    /// A step of more than half of the age, and more than 36 hours, since the last look is a jump. A file that cannot be written is logged: until it
    /// can, a restart begins again and nothing is deleted early.
    pub fn look(&mut self, now: DateTime<Utc>) -> DateTime<Utc> {
        let last = self.now.unwrap_or_else(|| Stretch::begin(now));
        let next = last.look(now, self.longest);
        if self.now.is_some() && next.since > last.since {
            tracing::warn!(from = %last.seen, to = %now, "the clock jumped, or this server was off for long: what would be deleted by age is kept for its full time again");
        }
        self.now = Some(next);
        let late = |s: Stretch| next.since != s.since || next.seen.signed_duration_since(s.seen).abs() >= STORE_EVERY;
        if self.stored.is_none_or(late) {
            match self.store(next) {
                Ok(()) => self.stored = Some(next),
                Err(error) => tracing::warn!(%error, "the time of the last look cannot be stored"),
            }
        }
        next.since
    }

    /// Blocks for one small file, once an hour: a write in a separate thread would outlive a look that is cut off, and could
    /// replace what a later look stored.
    fn store(&self, stretch: Stretch) -> Result<(), String> {
        let bytes = serde_json::to_vec(&stretch).map_err(|e| chain(&e))?;
        durable::write_file(&self.path, &bytes).map_err(|e| chain(&e))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::age::age;

    const KEPT: TimeDelta = TimeDelta::days(3);

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    #[test]
    fn an_age_begins_again_when_the_clock_jumps_and_when_it_comes_back() {
        let dir = tempfile::tempdir().unwrap();
        let open = || SteadyTime::open(dir.path(), KEPT);
        let (stamp, jumped) = (at("2026-11-01T00:00:00Z"), at("2069-01-01T00:00:00Z"));
        let mut time = open();
        assert_eq!(time.look(stamp), stamp);
        let next = stamp + TimeDelta::hours(30);
        assert_eq!(time.look(next), stamp);
        assert_eq!(age(stamp, stamp, next), TimeDelta::hours(30));
        // In another process, as after a start with an empty battery.
        let mut time = open();
        assert_eq!(time.look(jumped), jumped);
        assert_eq!(age(stamp, jumped, jumped), TimeDelta::zero());
        assert_eq!(age(stamp, jumped, jumped + TimeDelta::hours(5)), TimeDelta::hours(5));
        // What was stamped with the wrong time does not stay until then.
        let mut time = open();
        let back = time.look(next);
        assert_eq!((back, age(jumped, back, next + TimeDelta::hours(7))), (next, TimeDelta::hours(7)));
    }

    #[test]
    fn small_corrections_and_a_short_stop_are_no_jump() {
        let dir = tempfile::tempdir().unwrap();
        let start = at("2026-11-01T00:00:00Z");
        let mut time = SteadyTime::open(dir.path(), KEPT);
        time.look(start);
        assert_eq!(time.look(start + TimeDelta::hours(36)), start);
        assert_eq!(time.look(start + TimeDelta::hours(35)), start);
        let mut again = SteadyTime::open(dir.path(), KEPT);
        assert_eq!(again.look(start + TimeDelta::hours(70)), start);
    }

    #[test]
    fn a_server_that_is_off_at_night_comes_to_delete_however_short_the_age() {
        for kept in [TimeDelta::zero(), TimeDelta::hours(24)] {
            let dir = tempfile::tempdir().unwrap();
            let start = at("2026-11-01T19:00:00Z");
            let mornings = (0..4).map(|day| start + TimeDelta::days(day) + TimeDelta::hours(13));
            assert_eq!(SteadyTime::open(dir.path(), kept).look(start), start);
            assert!(mornings.into_iter().all(|morning| SteadyTime::open(dir.path(), kept).look(morning) == start));
        }
    }

    #[test]
    fn after_a_damaged_file_the_time_begins_again() {
        let dir = tempfile::tempdir().unwrap();
        durable::write_file(&dir.path().join(FILE), b"{").unwrap();
        let now = at("2026-11-01T00:00:00Z");
        assert_eq!(SteadyTime::open(dir.path(), KEPT).look(now), now);
    }
}
