//! How often reports of a branch may change its plan. Pure.
//!
//! A plan is signed, stored and sent to every terminal of the branch: a terminal whose facts change with every report, by a defect
//! or on purpose, must not cause one each time.

use chrono::{DateTime, TimeDelta, Utc};

/// Plans of one branch within [`WINDOW`] that come quickly.
const QUICK: u64 = 20;

/// The time in which plans are counted.
pub const WINDOW: TimeDelta = TimeDelta::hours(1);

/// The shortest time between two plans. Terminals that enrol together are in one plan.
const SHORT: TimeDelta = TimeDelta::seconds(5);

/// The shortest time between two plans once there were [`QUICK`].
const LONG: TimeDelta = TimeDelta::minutes(2);

/// Returns when the plan may follow a report, if that is later than `now`, by the `count` plans within [`WINDOW`] and the
/// time of the newest.
pub fn delay(count: u64, newest: Option<DateTime<Utc>>, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
    let pause = if count < QUICK { SHORT } else { LONG };
    newest.map(|newest| newest + pause).filter(|at| now < *at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_first_change_is_followed_at_once_and_endless_ones_seldom() {
        let begin = DateTime::from_timestamp(1_800_000_000, 0).unwrap();
        let mut issued = Vec::new();
        // A report each 100 ms for six hours.
        for tenth in 0..6 * 36_000 {
            let now = begin + TimeDelta::milliseconds(tenth * 100);
            let within: Vec<_> = issued.iter().copied().filter(|at| *at > now - WINDOW).collect();
            if delay(within.len() as u64, within.last().copied(), now).is_none() {
                issued.push(now);
            }
        }
        assert_eq!(issued[..3], [begin, begin + SHORT, begin + SHORT * 2]);
        assert!((6 * 20..=6 * 50).contains(&issued.len()), "{}", issued.len());
    }
}
