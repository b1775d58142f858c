//! Formats sizes, ages and shares.

use chrono::{DateTime, Utc};

pub(crate) use fleet_types::size;

/// `done` of `total` bytes; the unit is said once if it is the same.
pub(crate) fn size_of(done: u64, total: u64) -> String {
    let (done, total) = (size(done), size(total));
    match (done.rsplit_once(' '), total.rsplit_once(' ')) {
        (Some((number, unit)), Some((_, same))) if unit == same => format!("{number} of {total}"),
        _ => format!("{done} of {total}"),
    }
}

/// Formats a count with the noun's matching form.
pub(crate) fn count(n: impl Into<u64>, one: &str, many: &str) -> String {
    let n = n.into();
    if n == 1 { format!("1 {one}") } else { format!("{n} {many}") }
}

/// Formats how long ago `then` was, in the largest whole unit.
pub(crate) fn age(now: DateTime<Utc>, then: DateTime<Utc>) -> String {
    // Clocks differ slightly; an age is never negative.
    format!("{} ago", span((now - then).num_seconds().max(0).unsigned_abs()))
}

/// [`age`] of an event that may never have happened.
pub(crate) fn age_or_never(now: DateTime<Utc>, then: Option<DateTime<Utc>>) -> String {
    then.map_or_else(|| "never".to_owned(), |then| age(now, then))
}

/// Formats a span of seconds in the largest whole unit.
pub(crate) fn span(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min", seconds / 60),
        3_600..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} d", seconds / 86_400),
    }
}

/// `value` as text, or a dash.
pub(crate) fn or_dash<T: ToString>(value: Option<&T>) -> String {
    value.map_or_else(|| "-".to_owned(), ToString::to_string)
}

/// Draws a bar of `width` cells; full only when all is done.
pub(crate) fn bar(done: u64, total: u64, width: usize) -> String {
    let cells = if total == 0 { 0 } else { (u128::from(done.min(total)) * width as u128 / u128::from(total)) as usize };
    format!("[{}{}]", "#".repeat(cells), ".".repeat(width - cells))
}

/// Formats a percentage, rounded down, so that 100 % means all.
pub(crate) fn percent(done: u64, total: u64) -> String {
    let share = if total == 0 { 0 } else { u128::from(done.min(total)) * 100 / u128::from(total) };
    format!("{share:>3} %")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_and_ages_use_the_largest_whole_unit() {
        let at = |s| DateTime::from_timestamp(s, 0).unwrap();
        for (seconds, text) in [(0, "0 s"), (59, "59 s"), (61, "1 min"), (7_300, "2 h"), (172_800, "2 d")] {
            assert_eq!(span(seconds), text);
        }
        assert_eq!(age(at(100), at(70)), "30 s ago");
        assert_eq!(age(at(100), at(170)), "0 s ago");
        assert_eq!(age_or_never(at(100), None), "never");
    }

    #[test]
    fn a_bar_is_full_only_at_the_end() {
        assert_eq!(bar(0, 0, 4), "[....]");
        assert_eq!(bar(99, 100, 4), "[###.]");
        assert_eq!(bar(100, 100, 4), "[####]");
        assert_eq!(bar(u64::MAX, 1, 4), "[####]");
        assert_eq!(percent(999, 1000), " 99 %");
        assert_eq!(percent(5, 5), "100 %");
        assert_eq!(size_of(1_048_576, 3 << 20), "1.0 of 3.0 MiB");
        assert_eq!(size_of(5_000, 3 << 20), "4.9 KiB of 3.0 MiB");
        assert_eq!(size_of(0, 0), "0 of 0 bytes");
        assert_eq!([(1 << 30) - (1 << 20), 1 << 30, 3 << 29].map(size), ["1023.0 MiB", "1.0 GiB", "1.5 GiB"]);
    }
}
