//! What only says that a release cannot be judged yet (clock, power, checks, branch) is tried again and shown, and is not
//! charged to the release before it happened three times.

use chrono::{DateTime, TimeDelta, Utc};
use fleet_types::Slot;
use terminal_agent::memory::status;
use terminal_agent::model::limits::UNJUDGED_TRIALS;
use terminal_agent::ports::DropInEnd;

use crate::support::release::{v1, v2};
use crate::support::{Cut, Rig};

fn trials(rig: &Rig) -> u32 {
    rig.journal().memory.unjudged_trials(&v2().payload.sha256)
}

fn is_blamed(rig: &Rig) -> bool {
    rig.journal().memory.blamed.contains_key(&v2().payload.sha256)
}

/// Two power cuts: as many as the bootloader's attempts.
fn lose_power(rig: &mut Rig) {
    rig.until("trying");
    rig.cut(Cut::Power);
    rig.cut(Cut::Power);
    rig.until("rolled-back");
}

fn set_clock(rig: &Rig, to: DateTime<Utc>) {
    rig.world.lock().now = to;
}

#[test]
fn power_cuts_before_the_judgement_are_not_charged_to_the_release() {
    let mut rig = Rig::new(&v1(), &v2());
    rig.world.lock().drop_ins.insert("2.0.0".into(), DropInEnd::NotYet);
    lose_power(&mut rig);
    assert_eq!((rig.reason().as_str(), trials(&rig), is_blamed(&rig)), ("fell-back", 1, false));
    let journal = rig.journal();
    assert!(
        status::as_text(&journal).contains("unjudged   2.0.0, trial 1 of 3 on 2027-01-15: Slot B with kiosk 2.0.0")
    );
    assert_eq!(status::as_json(&journal)["unjudged"][v2().payload.sha256.to_string()]["trials"], 1);
    let told = journal.state.reason().map(|r| r.text.clone()).unwrap_or_default();
    assert!(told.contains(" Trial 1 of 3 without a judgement: the release is tried again."), "{told}");
    rig.world.lock().drop_ins.clear();
    rig.until("confirmed");
    rig.assert_confirmed(&v2(), Slot::B);
    assert_eq!(rig.journal().memory.unjudged.len(), 0, "a confirmed release has nothing against it");
}

#[test]
fn a_release_that_is_never_judged_is_blamed_after_three_trials_whatever_the_plans() {
    let mut rig = Rig::new(&v1(), &v2());
    rig.world.lock().drop_ins.insert("2.0.0".into(), DropInEnd::NotYet);
    for trial in 1..=UNJUDGED_TRIALS {
        lose_power(&mut rig);
        assert_eq!(is_blamed(&rig), trial == UNJUDGED_TRIALS, "trial {trial}");
        assert_eq!(trials(&rig), trial % UNJUDGED_TRIALS);
        // Another plan is another chance, but no other count.
        rig.world.plan(&[&v2()]);
    }
    let text = rig.journal().state.reason().map(|r| r.text.clone()).unwrap_or_default();
    assert!(
        text.contains("Trial 3 of 3 without a judgement: the release is not tried again on this terminal."),
        "{text}"
    );
    let writes = rig.world.writes();
    rig.world.plan(&[&v2()]);
    rig.turns(300);
    assert_eq!((rig.state(), rig.world.writes()), ("rolled-back", writes));
    assert_eq!(rig.journal().waiting.map(|w| w.code), Some("failed-before".into()));
}

#[test]
fn checks_that_never_end_are_tried_again() {
    let mut rig = Rig::new(&v1(), &v2());
    rig.world.lock().drop_ins.insert("2.0.0".into(), DropInEnd::NotYet);
    rig.until("rolled-back");
    assert_eq!((rig.reason().as_str(), trials(&rig), is_blamed(&rig)), ("not-healthy-yet", 1, false));
    rig.world.lock().drop_ins.clear();
    rig.until("confirmed");
    rig.assert_confirmed(&v2(), Slot::B);
}

#[test]
fn a_clock_that_was_ahead_before_the_trial_is_not_charged_to_the_release() {
    let mut rig = Rig::new(&v1(), &v2());
    rig.until("fetching");
    rig.world.lock().now += TimeDelta::hours(2);
    rig.until("trying");
    rig.world.lock().now -= TimeDelta::hours(2);
    rig.until("rolled-back");
    assert_eq!((rig.reason().as_str(), trials(&rig), is_blamed(&rig)), ("not-healthy-yet", 1, false));
    rig.until("confirmed");
    rig.assert_confirmed(&v2(), Slot::B);
}

#[test]
fn a_clock_that_was_lost_in_the_trial_is_not_charged_to_the_release() {
    let mut rig = Rig::new(&v1(), &v2());
    rig.until("trying");
    // What was written last is later than the newest verified time.
    rig.world.lock().now = DateTime::UNIX_EPOCH;
    rig.until("rolled-back");
    assert_eq!((rig.reason().as_str(), is_blamed(&rig)), ("not-healthy-yet", false));
    let text = rig.journal().state.reason().map(|r| r.text.clone()).unwrap_or_default();
    assert!(text.contains("the clock shows 1970-01-01"), "{text}");
    rig.until("confirmed");
    rig.assert_confirmed(&v2(), Slot::B);
}

#[test]
fn a_machine_without_a_clock_is_judged_by_the_newest_verified_time() {
    let mut rig = Rig::new(&v1(), &v2());
    rig.until("fetching");
    set_clock(&rig, DateTime::UNIX_EPOCH + TimeDelta::hours(5));
    rig.until("trying");
    // Each boot begins in 1970 again, before the last write of the boot before.
    set_clock(&rig, DateTime::UNIX_EPOCH);
    rig.until("confirmed");
    assert!(!rig.seen().contains("rolled-back"), "{:?}", rig.seen);
    rig.assert_confirmed(&v2(), Slot::B);
}
