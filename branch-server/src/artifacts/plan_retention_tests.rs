//! What no plan names any more: how long it is kept, and by which clock.

use super::tests::{RULES, days, know, now, roomy, run};
use super::*;

#[test]
fn what_the_plan_stops_naming_is_kept_for_the_retention_and_then_dropped() {
    let mut k = know(1, Stage::Held, InEngine::Present);
    assert_eq!(run(&[], &[k.clone()], &roomy()), ["unname 01010101", "watch 01010101"]);
    k.unnamed_since = Some(now() - days(3) + TimeDelta::seconds(1));
    assert_eq!(run(&[], &[k.clone()], &roomy()), ["watch 01010101"], "one second too early");
    k.unnamed_since = Some(now() - days(3));
    assert_eq!(run(&[], &[k], &roomy()), ["drop 01010101"]);
}

#[test]
fn the_least_recently_wanted_goes_first() {
    let kept = |n, age| Known { unnamed_since: Some(now() - days(age)), ..know(n, Stage::Held, InEngine::Present) };
    assert_eq!(
        run(&[], &[kept(1, 4), kept(2, 9), kept(3, 2), kept(4, 5)], &roomy()),
        ["drop 02020202", "drop 04040404", "drop 01010101", "watch 03030303"]
    );
}

#[test]
fn what_a_terminal_or_a_check_reads_stays_but_not_for_ever() {
    let mut k = Known { in_use: true, ..know(1, Stage::Held, InEngine::Present) };
    k.unnamed_since = Some(now() - days(5));
    assert_eq!(run(&[], &[k.clone()], &roomy()), ["watch 01010101"]);
    k.unnamed_since = Some(now() - days(6));
    assert_eq!(run(&[], &[k], &roomy()), ["drop 01010101"]);
}

#[test]
fn a_clock_that_steps_back_drops_nothing() {
    let k = Known { unnamed_since: Some(now() + days(100)), ..know(1, Stage::Held, InEngine::Present) };
    assert!(!dropped_after_jump(k, days(0)));
}

#[test]
fn a_clock_that_was_corrected_backwards_drops_nothing_before_its_time() {
    // It stopped being named an hour ago, by a clock that was set back by two hours since and has not jumped for a year.
    let k = Known { unnamed_since: Some(now() + TimeDelta::hours(1)), ..know(1, Stage::Held, InEngine::Present) };
    assert!(!dropped_after_jump(k, days(365)));
}

#[test]
fn a_clock_that_jumped_drops_nothing_until_the_full_time_has_passed() {
    // From 2026, and from 2069 back: either way the age counts from the jump on.
    for unnamed_since in [now() - days(43 * 365), now() + days(43 * 365)] {
        let k = Known { unnamed_since: Some(unnamed_since), ..know(1, Stage::Held, InEngine::Present) };
        assert!(!dropped_after_jump(k.clone(), days(0)), "{unnamed_since}");
        assert!(!dropped_after_jump(k.clone(), days(2)), "{unnamed_since}");
        assert!(dropped_after_jump(k, days(3)), "{unnamed_since}");
    }
}

/// Whether `known`, which no plan names, is dropped when the clock has run for `steady` since its last jump.
fn dropped_after_jump(known: Known, steady: TimeDelta) -> bool {
    let rules = Rules { steady: now() - steady, ..RULES };
    let (missing, backoffs, foreign) = (BTreeMap::new(), BTreeMap::new(), BTreeSet::new());
    let known = [known];
    let seen =
        Seen { wanted: &[], known: &known, missing: &missing, backoffs: &backoffs, foreign: &foreign, disk: &roomy() };
    decide(seen, rules, now()).iter().any(|action| matches!(action, Action::Drop(_)))
}
