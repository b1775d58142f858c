//! For every state: the agent is killed at every point at which it touches the world, before and after the effect;
//! everything in memory is gone, and it starts again from its journal. It always converges to confirmed, and so does
//! a machine whose plug is pulled at the same points, with what was not synced lost.

use std::collections::BTreeSet;

use crate::support::release::{v1, v2};
use crate::support::{Cut, Rig};
use fleet_types::Slot;

/// Points at which a whole update touches the world.
fn points() -> i64 {
    let mut rig = Rig::new(&v1(), &v2());
    rig.until("confirmed");
    rig.turns(3);
    rig.world.kill.calls.load(std::sync::atomic::Ordering::SeqCst)
}

/// Kills at every `step`-th point from `first`; answers the states that it was killed in.
fn kill_everywhere(how: Cut, first: i64, step: usize) -> BTreeSet<&'static str> {
    let points = points();
    assert!(points > 60, "only {points} points: the kill switch is not wired");
    let mut killed_in = BTreeSet::new();
    for point in (first..points).step_by(step) {
        let mut rig = Rig::new(&v1(), &v2());
        rig.world.kill.after(point);
        while rig.turn() {}
        killed_in.insert(rig.state());
        rig.cut(how);
        rig.until_that(&format!("confirmed after {how:?} at point {point}"), |rig| rig.state() == "confirmed");
        rig.assert_confirmed(&v2(), Slot::B);
        assert!(rig.world.lock().epochs.len() == 1, "the numbering of reports was lost");
        assert!(!rig.seen().contains("failed") && !rig.seen().contains("rolled-back"), "{:?}", rig.seen);
    }
    killed_in
}

const STATES: [&str; 7] = ["assigned", "fetching", "installing", "ready", "activating", "trying", "confirmed"];

fn assert_all_states(killed_in: &BTreeSet<&'static str>) {
    for state in STATES {
        assert!(killed_in.contains(state), "never killed in {state}: {killed_in:?}");
    }
}

#[test]
fn killed_anywhere_the_update_converges_to_confirmed() {
    assert_all_states(&kill_everywhere(Cut::Process, 0, 1));
}

#[test]
fn with_the_plug_pulled_anywhere_the_update_converges_to_confirmed() {
    assert_all_states(&kill_everywhere(Cut::Power, 0, 1));
}

#[test]
fn killed_again_and_again_the_update_still_converges() {
    // Long enough to write one batch of segments: less would not count as a run.
    for every in [31, 47, 61] {
        let mut rig = Rig::new(&v1(), &v2());
        let mut kills = 0;
        rig.world.kill.after(every);
        while rig.world.running() == Slot::A || !has_state(&rig, "confirmed") {
            if !rig.turn() {
                kills += 1;
                rig.cut(Cut::Process);
                rig.world.kill.after(every + kills % 5);
            }
            assert!(kills < 2_000, "no progress when killed every {every} points; seen {:?}", rig.seen);
        }
        rig.world.kill.disarm();
        rig.assert_confirmed(&v2(), Slot::B);
    }
}

fn has_state(rig: &Rig, state: &str) -> bool {
    rig.settings.paths.journal().exists() && rig.state() == state
}

#[test]
fn killed_while_leaving_a_lost_trial_it_still_gets_back_to_the_old_slot() {
    let lost = || {
        let rig = Rig::new(&v1(), &v2());
        rig.world.lock().drop_ins.insert("2.0.0".into(), terminal_agent::ports::DropInEnd::Unhealthy);
        rig
    };
    let mut rig = lost();
    rig.until("trying");
    let begin = rig.world.kill.calls.load(std::sync::atomic::Ordering::SeqCst);
    rig.until("rolled-back");
    let end = rig.world.kill.calls.load(std::sync::atomic::Ordering::SeqCst);
    for how in [Cut::Process, Cut::Power] {
        for point in begin..end {
            let mut rig = lost();
            rig.world.kill.after(point);
            while rig.turn() {}
            rig.cut(how);
            rig.until_that(&format!("rolled back after {how:?} at point {point}"), |rig| rig.state() == "rolled-back");
            assert_eq!(rig.reason(), "unhealthy", "{how:?} at point {point}");
            rig.assert_on_old_slot(Slot::A);
        }
    }
}
