//! Freezes: periods without publishing. They start by cron expression; the time is an argument.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Datelike, FixedOffset, Offset as _, TimeDelta, Utc};
use cron::Schedule;
use serde::{Deserialize, Serialize};

/// The years that a cron expression can name.
const YEARS: std::ops::Range<i32> = 1971..2099;
/// Maximum consecutive freezes followed to their end.
const FOLLOWED: usize = 64;

/// When freezes begin: `second minute hour day-of-month month day-of-week [year]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Starts(Schedule);

impl FromStr for Starts {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let bad = |why: &dyn fmt::Display| {
            let why = why.to_string().replace('\n', " ");
            format!(
                "{text:?} is not a cron expression such as \"0 0 18 24 12 *\" (second minute hour day month weekday): {why}"
            )
        };
        if text.len() > 256 {
            return Err(format!("the cron expression has {} characters; the limit is 256", text.len()));
        }
        Schedule::from_str(text).map(Self).map_err(|e| bad(&e))
    }
}

impl TryFrom<String> for Starts {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Starts> for String {
    fn from(starts: Starts) -> Self {
        starts.0.source().to_owned()
    }
}

impl Starts {
    /// Returns the last start at or before `at`.
    fn last(&self, at: DateTime<FixedOffset>) -> Option<DateTime<FixedOffset>> {
        if self.0.includes(at) {
            return Some(at - TimeDelta::nanoseconds(i64::from(at.timestamp_subsec_nanos())));
        }
        self.0.after(&at).next_back()
    }
}

/// The offset from UTC in which a calendar is written, such as `+03:00`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct UtcOffset(FixedOffset);

impl Default for UtcOffset {
    fn default() -> Self {
        Self(Utc.fix())
    }
}

impl FromStr for UtcOffset {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        FixedOffset::from_str(text).map(Self).map_err(|_| format!("{text:?} is not a UTC offset such as \"+03:00\""))
    }
}

impl TryFrom<String> for UtcOffset {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<UtcOffset> for String {
    fn from(offset: UtcOffset) -> Self {
        offset.0.to_string()
    }
}

/// A freeze that recurs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FreezePeriod {
    /// When it begins.
    pub starts: Starts,
    /// How long it lasts, in hours.
    pub lasts_hours: u32,
    /// Why, for people.
    pub reason: String,
}

impl FreezePeriod {
    /// Returns its end, if it is in force at `at`.
    fn end(&self, at: DateTime<FixedOffset>) -> Option<DateTime<FixedOffset>> {
        let end = self.starts.last(at)?.checked_add_signed(TimeDelta::hours(i64::from(self.lasts_hours)))?;
        (end > at).then_some(end)
    }
}

/// A freeze in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Freeze<'a> {
    pub(crate) reason: &'a str,
    /// When the last of the consecutive freezes ends.
    pub(crate) until: DateTime<FixedOffset>,
    /// Whether there are too many to follow, so that `until` is not the end of all.
    pub(crate) at_least: bool,
}

/// Returns the freeze in force at `now`, if any.
///
/// # Errors
/// `now` is outside the years that cron expressions cover.
pub(crate) fn at(
    periods: &[FreezePeriod],
    offset: UtcOffset,
    now: DateTime<Utc>,
) -> Result<Option<Freeze<'_>>, &'static str> {
    if !YEARS.contains(&now.year()) {
        return Err("This machine's clock is outside the years that freeze calendars cover.");
    }
    let local = now.with_timezone(&offset.0);
    let ends = periods.iter().filter_map(|p| Some((p.end(local)?, p)));
    let Some((mut until, period)) = ends.max_by_key(|(end, _)| *end) else { return Ok(None) };
    // Another freeze may start before this one ends: follow to its end.
    let mut followed = 0;
    while let Some(later) = periods.iter().filter_map(|p| p.end(until)).max() {
        followed += 1;
        if followed > FOLLOWED || !YEARS.contains(&later.year()) {
            return Ok(Some(Freeze { reason: &period.reason, until, at_least: true }));
        }
        until = later;
    }
    Ok(Some(Freeze { reason: &period.reason, until, at_least: false }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn period(starts: &str, lasts_hours: u32) -> FreezePeriod {
        FreezePeriod { starts: starts.parse().unwrap(), lasts_hours, reason: "Trade.".into() }
    }

    fn until(periods: &[FreezePeriod], offset: &str, now: &str) -> Option<(String, bool)> {
        let found = at(periods, offset.parse().unwrap(), now.parse().unwrap()).unwrap();
        found.map(|f| (f.until.to_rfc3339(), f.at_least))
    }

    #[test]
    fn a_freeze_holds_from_its_start_to_just_before_its_end() {
        let christmas = [period("0 0 18 24 12 *", 48)];
        for (now, frozen) in [
            ("2030-12-24T17:59:59.999Z", false),
            ("2030-12-24T18:00:00Z", true),
            ("2030-12-24T18:00:00.5Z", true),
            ("2030-12-26T17:59:59.999Z", true),
            ("2030-12-26T18:00:00Z", false),
            ("2031-06-01T00:00:00Z", false),
        ] {
            let expected = frozen.then(|| ("2030-12-26T18:00:00+00:00".to_owned(), false));
            assert_eq!(until(&christmas, "+00:00", now), expected, "{now}");
        }
    }

    #[test]
    fn it_is_written_in_the_shops_time() {
        let fridays = [period("0 0 16 * * Fri", 64)];
        // 2030-01-04 is a Friday; 16:00 in +03:00 is 13:00 UTC.
        assert_eq!(until(&fridays, "+03:00", "2030-01-04T12:59:59Z"), None);
        assert_eq!(
            until(&fridays, "+03:00", "2030-01-04T13:00:00Z"),
            Some(("2030-01-07T08:00:00+03:00".to_owned(), false))
        );
        assert_eq!(until(&fridays, "-11:30", "2030-01-05T03:29:00Z"), None);
    }

    #[test]
    fn freezes_that_follow_on_each_other_are_one() {
        let periods = [period("0 0 0 1 * *", 24), period("0 0 0 2 * *", 24), period("0 0 12 2 * *", 24)];
        let end = Some(("2030-03-03T12:00:00+00:00".to_owned(), false));
        assert_eq!(until(&periods, "+00:00", "2030-03-01T10:00:00Z"), end);
    }

    #[test]
    fn one_without_an_end_is_no_endless_loop() {
        let found = until(&[period("* * * * * *", 1)], "+00:00", "2030-03-01T10:00:00Z").unwrap();
        assert!(found.1, "{found:?}");
        assert_eq!(until(&[period("0 0 0 30 2 *", 24)], "+00:00", "2030-03-01T10:00:00Z"), None, "never");
        assert_eq!(until(&[period("0 0 0 1 1 * 2029", 24)], "+00:00", "2030-03-01T10:00:00Z"), None, "long ago");
        assert!(at(&[period("* * * * * *", 1)], UtcOffset::default(), DateTime::<Utc>::MAX_UTC).is_err());
    }
}
