//! Ages by a clock that may have jumped ([`crate::steady`] tells since when it has not). Pure.

use chrono::{DateTime, TimeDelta, Utc};

/// Returns how old something from `since` is, if the clock has run without a jump since `steady`.
///
/// What is from the future was stamped before the clock was set back: it is as old as the stretch.
pub fn age(since: DateTime<Utc>, steady: DateTime<Utc>, now: DateTime<Utc>) -> TimeDelta {
    now.signed_duration_since(if since > now { steady } else { since.max(steady) })
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
    fn nothing_is_old_enough_until_the_clock_has_run_that_long() {
        let steady: DateTime<Utc> = "2026-11-01T00:00:00Z".parse().unwrap();
        let (kept, second) = (TimeDelta::days(3), TimeDelta::seconds(1));
        assert_eq!(older_than(kept, steady, steady + kept - second), None);
        assert_eq!(older_than(kept, steady, steady + kept), Some(steady));
        assert_eq!(older_than(kept, steady, steady + kept * 2), Some(steady + kept));
        assert_eq!(older_than(kept, steady, steady - second), None, "the clock was set back since");
    }
}
