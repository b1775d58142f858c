//! Ages by a clock that may have jumped ([`crate::steady`] tells since when it has not). Pure.

use chrono::{DateTime, TimeDelta, Utc};

/// How far the clock may be set back without a jump: what is from the future by no more than this was stamped just now.
pub const SET_BACK: TimeDelta = TimeDelta::hours(36);

/// Returns how old something from `since` is, if the clock has run without a jump since `steady`.
///
/// What is from the future was stamped before the clock was set back. If it was set back by a correction, the stamp is young and its time
/// comes; after a jump it is as old as the stretch.
pub fn age(since: DateTime<Utc>, steady: DateTime<Utc>, now: DateTime<Utc>) -> TimeDelta {
    match since.signed_duration_since(now) {
        ahead if ahead > SET_BACK => now.signed_duration_since(steady),
        ahead if ahead > TimeDelta::zero() => TimeDelta::zero(),
        _ => now.signed_duration_since(since.max(steady)),
    }
}

/// Returns the time before which something is older than `kept`; none until the clock has run so long without a jump.
pub fn older_than(kept: TimeDelta, steady: DateTime<Utc>, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
    let before = now - kept;
    (steady <= before).then_some(before)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamp_from_before_a_correction_of_the_clock_is_young_and_one_from_before_a_jump_as_old_as_the_stretch() {
        let steady: DateTime<Utc> = "2026-11-01T00:00:00Z".parse().unwrap();
        let now = steady + TimeDelta::days(30);
        let ahead = |hours| age(now + TimeDelta::hours(hours), steady, now);
        assert_eq!([ahead(1), ahead(36)], [TimeDelta::zero(); 2]);
        assert_eq!(ahead(37), TimeDelta::days(30));
    }

    #[test]
    fn nothing_is_old_enough_until_the_clock_has_run_that_long() {
        let steady: DateTime<Utc> = "2026-11-01T00:00:00Z".parse().unwrap();
        let (kept, second) = (TimeDelta::days(3), TimeDelta::seconds(1));
        assert_eq!(older_than(kept, steady, steady + kept - second), None);
        assert_eq!(older_than(kept, steady, steady + kept), Some(steady));
        assert_eq!(older_than(kept, steady, steady + kept * 2), Some(steady + kept));
        assert_eq!(older_than(kept, steady, steady - second), None, "the clock was set back since");
    }
}
