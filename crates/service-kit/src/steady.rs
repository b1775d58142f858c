//! Tells time that passed from a clock that jumped, for work that deletes what is old enough.
//!
//! A clock without a battery, or a wrong time server, can show 2069 for a minute. What is deleted by then is gone. So an
//! age counts only from the last jump on: after one, everything is kept for its full time once more. Within one boot the clock is
//! compared with the time since the start, so that steps of any size add up. A machine that was off for long looks as after a jump.

use std::path::{Path, PathBuf};

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use crate::age::SET_BACK;
use crate::clock::{Clock, Uptime};
use crate::durable;
use crate::edge::chain;

/// The file in a program's state folder.
const FILE: &str = "steady.json";

/// A step up to this is never a jump: branch servers that are off at night and over a weekend's day must still come to delete.
const NEVER_A_JUMP: TimeDelta = SET_BACK;

/// How far the stored time may be behind the time in memory.
const STORE_EVERY: TimeDelta = TimeDelta::hours(1);

/// A stretch of time in which the clock did not jump.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Stretch {
    since: DateTime<Utc>,
    seen: DateTime<Utc>,
    /// The sum of the clock's steps in this stretch, in seconds.
    #[serde(default)]
    drift: i64,
    /// The boot of the last look, if it was known.
    #[serde(default)]
    boot: Option<Boot>,
}

/// A boot of the machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Boot {
    id: String,
    /// What the clock showed when the machine started, in seconds since 1970. It changes only with a step of the clock.
    at: i64,
}

impl Boot {
    fn of(now: DateTime<Utc>, uptime: Uptime) -> Self {
        Self { id: uptime.boot_id, at: now.timestamp().saturating_sub(uptime.time.num_seconds()) }
    }
}

impl Stretch {
    fn begin(now: DateTime<Utc>, boot: Option<Boot>) -> Self {
        Self { since: now, seen: now, drift: 0, boot }
    }

    /// Continues the stretch, or begins one after a jump.
    ///
    /// Within a boot the steps of the clock are summed: a sum of more than [`NEVER_A_JUMP`] is a jump, and so is each step back of
    /// more. A longer stop is none. In another boot, or without uptime, so is a step forwards of more than `longest`.
    fn look(&self, now: DateTime<Utc>, boot: Option<Boot>, longest: TimeDelta) -> Self {
        let passed = now.signed_duration_since(self.seen);
        let step = match (&self.boot, &boot) {
            (Some(before), Some(boot)) if before.id == boot.id => Some(boot.at.saturating_sub(before.at)),
            _ => None,
        };
        let drift = self.drift.saturating_add(step.unwrap_or(0));
        let is_long = step.is_none() && passed > longest;
        if is_long || passed < -NEVER_A_JUMP || drift.unsigned_abs() > NEVER_A_JUMP.num_seconds().unsigned_abs() {
            return Self::begin(now, boot);
        }
        Self { since: self.since.min(now), seen: now, drift, boot }
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
        let stored: Option<Stretch> = std::fs::read(&path).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
        Self { path, longest, now: stored.clone(), stored }
    }

    /// Returns since when the clock has run without a jump.
    ///
    /// A jump is a sum of the clock's steps of more than 36 hours; after a restart of the machine, a step of more than half of the age as
    /// well. A file that cannot be written is logged: until it can, a restart begins again and nothing is deleted early.
    pub fn look(&mut self, clock: &dyn Clock) -> DateTime<Utc> {
        self.look_at(clock.now(), clock.uptime())
    }

    /// Looks at the times of one moment.
    fn look_at(&mut self, now: DateTime<Utc>, uptime: Option<Uptime>) -> DateTime<Utc> {
        let boot = uptime.map(|uptime| Boot::of(now, uptime));
        let last = self.now.clone().unwrap_or_else(|| Stretch::begin(now, boot.clone()));
        let next = last.look(now, boot, self.longest);
        if self.now.is_some() && next.since > last.since {
            tracing::warn!(from = %last.seen, to = %now, "the clock jumped, or this server was off for long: what would be deleted by age is kept for its full time again");
        }
        let since = next.since;
        self.now = Some(next.clone());
        let late = |s: &Stretch| {
            let drift = TimeDelta::seconds(next.drift.saturating_sub(s.drift));
            since != s.since
                || next.seen.signed_duration_since(s.seen).abs() >= STORE_EVERY
                || drift.abs() >= STORE_EVERY
        };
        if self.stored.as_ref().is_none_or(late) {
            match self.store(&next) {
                Ok(()) => self.stored = Some(next),
                Err(error) => tracing::warn!(%error, "the time of the last look cannot be stored"),
            }
        }
        since
    }

    /// Blocks for one small file, once an hour: a write in a separate thread would outlive a look that is cut off, and could
    /// replace what a later look stored.
    fn store(&self, stretch: &Stretch) -> Result<(), String> {
        let bytes = serde_json::to_vec(stretch).map_err(|e| chain(&e))?;
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
        assert_eq!(time.look_at(stamp, None), stamp);
        let next = stamp + TimeDelta::hours(30);
        assert_eq!(time.look_at(next, None), stamp);
        assert_eq!(age(stamp, stamp, next), TimeDelta::hours(30));
        // In another process, as after a start with an empty battery.
        let mut time = open();
        assert_eq!(time.look_at(jumped, None), jumped);
        assert_eq!(age(stamp, jumped, jumped), TimeDelta::zero());
        assert_eq!(age(stamp, jumped, jumped + TimeDelta::hours(5)), TimeDelta::hours(5));
        // What was stamped with the wrong time does not stay until then.
        let mut time = open();
        let back = time.look_at(next, None);
        assert_eq!((back, age(jumped, back, next + TimeDelta::hours(7))), (next, TimeDelta::hours(7)));
    }

    #[test]
    fn small_corrections_and_a_short_stop_are_no_jump() {
        let dir = tempfile::tempdir().unwrap();
        let start = at("2026-11-01T00:00:00Z");
        let mut time = SteadyTime::open(dir.path(), KEPT);
        time.look_at(start, None);
        assert_eq!(time.look_at(start + TimeDelta::hours(36), None), start);
        assert_eq!(time.look_at(start + TimeDelta::hours(35), None), start);
        let mut again = SteadyTime::open(dir.path(), KEPT);
        assert_eq!(again.look_at(start + TimeDelta::hours(70), None), start);
    }

    fn up(boot: &str, time: TimeDelta) -> Option<Uptime> {
        Some(Uptime { boot_id: boot.to_owned(), time })
    }

    #[test]
    fn small_steps_of_the_clock_add_up_to_a_jump() {
        let dir = tempfile::tempdir().unwrap();
        let (start, hours) = (at("2026-11-01T00:00:00Z"), TimeDelta::hours);
        let open = || SteadyTime::open(dir.path(), KEPT);
        assert_eq!(open().look_at(start, up("a", hours(1))), start);
        // Each hour the clock is set forwards by ten, whichever process sees it.
        for step in 1..=3 {
            assert_eq!(
                open().look_at(start + hours(11 * i64::from(step)), up("a", hours(1 + i64::from(step)))),
                start,
                "{step}"
            );
        }
        let jumped = start + hours(44);
        assert_eq!(open().look_at(jumped, up("a", hours(5))), jumped);
        // And back: the sum begins with the stretch.
        assert_eq!(open().look_at(jumped - hours(30), up("a", hours(5))), jumped - hours(30));
        assert_eq!(open().look_at(jumped - hours(60), up("a", hours(5))), jumped - hours(60));
    }

    #[test]
    fn corrections_there_and_back_and_stops_of_the_program_are_no_jump() {
        let dir = tempfile::tempdir().unwrap();
        let (start, hours) = (at("2026-11-01T00:00:00Z"), TimeDelta::hours);
        let mut time = SteadyTime::open(dir.path(), KEPT);
        time.look_at(start, up("a", hours(1)));
        for day in 1..9 {
            let off = if day % 2 == 0 { 0 } else { 20 };
            assert_eq!(time.look_at(start + hours(24 * day + off), up("a", hours(1 + 24 * day))), start);
        }
        // The program stood still while the machine ran: that time has passed.
        let late = start + TimeDelta::days(40);
        assert_eq!(time.look_at(late, up("a", hours(1) + TimeDelta::days(40))), start);
        // Nor is it known what a restart of the machine took, beyond half of the age.
        let again = late + hours(35);
        assert_eq!(time.look_at(again, up("b", hours(0))), start);
        assert_eq!(time.look_at(again + hours(37), up("c", hours(0))), again + hours(37));
    }

    #[test]
    fn a_server_that_is_off_at_night_comes_to_delete_however_short_the_age() {
        for kept in [TimeDelta::zero(), TimeDelta::hours(24)] {
            let dir = tempfile::tempdir().unwrap();
            let start = at("2026-11-01T19:00:00Z");
            let mornings = (0..4).map(|day| start + TimeDelta::days(day) + TimeDelta::hours(13));
            assert_eq!(SteadyTime::open(dir.path(), kept).look_at(start, None), start);
            assert!(
                mornings.into_iter().all(|morning| SteadyTime::open(dir.path(), kept).look_at(morning, None) == start)
            );
        }
    }

    #[test]
    fn after_a_damaged_file_the_time_begins_again() {
        let dir = tempfile::tempdir().unwrap();
        durable::write_file(&dir.path().join(FILE), b"{").unwrap();
        let now = at("2026-11-01T00:00:00Z");
        assert_eq!(SteadyTime::open(dir.path(), KEPT).look_at(now, None), now);
    }
}
