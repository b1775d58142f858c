//! Whole updates: the good way, and the ways that end otherwise.

use crate::support::release::{v1, v2};
use crate::support::{Cut, Port, Rig, TestRelease};
use bootslot::BootState;
use chrono::TimeDelta;
use fleet_types::Slot;
use fleet_types::UpdateState as U;
use terminal_agent::model::limits::UNJUDGED_TRIALS;
use terminal_agent::ports::DropInEnd;

#[test]
fn an_update_passes_every_state_in_order_and_ends_confirmed_in_the_other_slot() {
    let mut rig = Rig::new(&v1(), &v2());
    rig.until("confirmed");
    rig.assert_confirmed(&v2(), Slot::B);
    let order = ["assigned", "fetching", "installing", "ready", "activating", "trying", "confirmed"];
    assert_eq!(rig.seen.iter().filter(|s| **s != "idle").copied().collect::<Vec<_>>(), order);
    let moves = rig.world.moves();
    let chain = [U::Assigned, U::Fetching, U::Installing, U::Ready, U::Activating, U::Trying, U::Confirmed];
    let mut from = None;
    for (state, told) in chain.iter().zip(&moves) {
        assert_eq!(told, &(from, *state));
        from = Some(*state);
    }
    assert_eq!(moves.len(), chain.len());
}

#[test]
fn a_second_release_flips_the_slots_back() {
    let mut rig = Rig::new(&v1(), &v2());
    rig.until("confirmed");
    let v3 = TestRelease::new("3.0.0");
    rig.world.offer(&v3);
    rig.until_that("3.0.0 confirmed", |rig| rig.world.running() == Slot::A && rig.state() == "confirmed");
    rig.assert_confirmed(&v3, Slot::A);
    assert_eq!(rig.journal().memory.confirmed[&Slot::A], v3.payload.sha256);
}

#[test]
fn an_unhealthy_release_is_rolled_back_remembered_and_a_fixed_one_works() {
    let mut rig = Rig::new(&v1(), &v2());
    rig.world.lock().drop_ins.insert("2.0.0".into(), DropInEnd::Unhealthy);
    rig.until("rolled-back");
    assert_eq!(rig.reason(), "unhealthy");
    let journal = rig.journal();
    let reason = journal.state.reason().map(|r| r.text.clone()).unwrap_or_default();
    assert!(reason.contains("10-printer failed: no paper"), "{reason}");
    rig.assert_on_old_slot(Slot::A);
    rig.world.assert_reported(&[U::Trying, U::RolledBack]);
    let (writes, moves) = (rig.world.writes(), rig.world.moves().len());
    for _ in 0..20 {
        rig.world.advance(std::time::Duration::from_secs(40_000));
        rig.world.edit_plan(|p| {
            p.serial += 1;
            p.expires += TimeDelta::days(1);
        });
        rig.turns(5);
    }
    assert_eq!(rig.state(), "rolled-back");
    assert_eq!((rig.world.writes(), rig.world.moves().len()), (writes, moves), "something was done again");
    assert_eq!(rig.journal().waiting.map(|w| w.code), Some("failed-before".into()));
    // Not even a newer plan that names the same digest.
    rig.world.plan(&[&v2()]);
    rig.turns(20);
    assert_eq!(rig.state(), "rolled-back");
    let fixed = TestRelease::new("2.0.1");
    rig.world.offer(&fixed);
    rig.until("confirmed");
    rig.assert_confirmed(&fixed, Slot::B);
}

#[test]
fn what_the_daemon_forgot_is_looked_for_on_the_disk() {
    let mut rig = Rig::new(&v1(), &v2());
    // Nothing can be written before everything is here.
    rig.world.fail(Port::DiskWrite, u32::MAX);
    rig.until_that("everything is here", |rig| rig.world.daemon_has_everything());
    rig.world.heal();
    rig.world.daemon_forgets();
    // It is not served again.
    rig.world.lock().pieces_a_look = 0;
    rig.until("confirmed");
    rig.assert_confirmed(&v2(), Slot::B);
}

#[test]
fn a_branch_that_is_silent_in_the_trial_is_not_the_release_s_fault() {
    let mut rig = Rig::new(&v1(), &v2());
    rig.until("trying");
    rig.world.lock().branch_up = false;
    rig.until("rolled-back");
    assert_eq!(rig.reason(), "branch-unreachable");
    assert!(rig.journal().memory.blamed.is_empty());
    rig.assert_on_old_slot(Slot::A);
    rig.turns(100);
    assert_eq!(rig.state(), "rolled-back", "it is not tried again before the branch has answered");
    rig.world.lock().branch_up = true;
    rig.until("confirmed");
    rig.assert_confirmed(&v2(), Slot::B);
    assert!(rig.journal().memory.setbacks.is_empty());
}

#[test]
fn a_release_whose_branch_is_silent_in_every_trial_is_given_up() {
    let mut rig = Rig::new(&v1(), &v2());
    let mut trials = 0;
    for _ in 0..3_000 {
        rig.turns(1);
        let trying = rig.state() == "trying";
        trials += usize::from(trying && rig.world.lock().branch_up);
        rig.world.lock().branch_up = !trying;
    }
    assert_eq!(trials as u32, UNJUDGED_TRIALS, "{:?}", rig.seen);
    assert_eq!((rig.state(), rig.reason().as_str()), ("rolled-back", "branch-unreachable"));
    // The old slot reached the branch between any two of them.
    assert!(rig.journal().memory.blamed.contains_key(&v2().payload.sha256));
}

#[test]
fn a_release_whose_agent_never_runs_falls_back_and_is_blamed_after_three_trials() {
    let mut rig = Rig::new(&v1(), &v2());
    for trial in 1..=UNJUDGED_TRIALS {
        rig.until_that("the trial slot booted", |rig| rig.world.running() == Slot::B);
        rig.cut(Cut::Power);
        assert_eq!(rig.world.running(), Slot::B, "the second attempt");
        rig.cut(Cut::Power);
        assert_eq!(rig.world.running(), Slot::A, "the attempts are used up");
        rig.until("rolled-back");
        assert_eq!(rig.reason(), "fell-back");
        assert!(!rig.seen().contains("trying"));
        let blames = rig.journal().memory.blamed.contains_key(&v2().payload.sha256);
        assert_eq!(blames, trial == UNJUDGED_TRIALS, "trial {trial}");
        rig.assert_on_old_slot(Slot::A);
    }
    rig.turns(300);
    assert_eq!(rig.state(), "rolled-back");
}

#[test]
fn checks_that_are_not_good_yet_are_waited_for_until_the_deadline() {
    let mut rig = Rig::new(&v1(), &v2());
    rig.world.lock().drop_ins.insert("2.0.0".into(), DropInEnd::NotYet);
    rig.until("trying");
    rig.turns(4);
    assert_eq!(rig.state(), "trying");
    rig.world.lock().drop_ins.clear();
    rig.until("confirmed");
    let mut rig = Rig::new(&v1(), &v2());
    rig.world.lock().drop_ins.insert("2.0.0".into(), DropInEnd::NotYet);
    rig.until("rolled-back");
    assert_eq!(rig.reason(), "not-healthy-yet");
    assert!(rig.journal().memory.blamed.is_empty(), "no check failed");
    let mut rig = Rig::new(&v1(), &v2());
    rig.world.lock().drop_ins.insert("2.0.0".into(), DropInEnd::TimedOut);
    rig.until("rolled-back");
    assert_eq!(rig.reason(), "unhealthy");
}

#[test]
fn a_unit_that_had_failed_before_is_no_reason_and_a_new_one_is() {
    let mut rig = Rig::new(&v1(), &v2());
    rig.until("trying");
    rig.world.lock().failed_units.push("till.service".into());
    rig.until("rolled-back");
    let journal = rig.journal();
    let text = &journal.state.reason().map(|r| r.text.clone()).unwrap_or_default();
    assert!(text.contains("till.service") && !text.contains("old.service"), "{text}");
}

#[test]
fn a_slot_that_says_another_version_is_unhealthy() {
    let odd = TestRelease::of_image("2.0.0", "", TestRelease::new("2.0.5").image);
    let mut rig = Rig::new(&v1(), &odd);
    rig.until("rolled-back");
    assert_eq!(rig.reason(), "unhealthy");
}

#[test]
fn a_clock_that_shows_less_than_before_the_trial_is_waited_for() {
    let mut rig = Rig::new(&v1(), &v2());
    rig.until("trying");
    rig.world.lock().now -= TimeDelta::days(300);
    rig.turns(3);
    assert_eq!(rig.state(), "trying");
    rig.world.lock().now += TimeDelta::days(300);
    rig.until("confirmed");
    rig.assert_confirmed(&v2(), Slot::B);
}

#[test]
fn a_clock_that_jumps_ahead_does_not_end_the_trial() {
    let mut rig = Rig::new(&v1(), &v2());
    rig.world.lock().drop_ins.insert("2.0.0".into(), DropInEnd::NotYet);
    rig.until("trying");
    rig.world.lock().now += TimeDelta::days(3);
    rig.turns(5);
    assert_eq!(rig.state(), "trying");
    rig.world.lock().drop_ins.clear();
    rig.until("confirmed");
}

#[test]
fn a_boot_block_that_becomes_unusable_in_any_state_is_made_anew() {
    for state in ["assigned", "fetching", "installing", "ready", "activating", "trying", "confirmed"] {
        let mut rig = Rig::new(&v1(), &v2());
        rig.until(state);
        std::fs::File::create(rig.world.path("grubenv")).expect("truncate");
        rig.until_that(&format!("confirmed after the block was lost in {state}"), |rig| rig.state() == "confirmed");
        rig.assert_confirmed(&v2(), Slot::B);
    }
}

#[test]
fn a_trial_that_no_journal_knows_of_is_left_again() {
    let mut rig = Rig::new(&v1(), &v2());
    rig.until("trying");
    rig.cut(Cut::Process);
    std::fs::File::create(rig.settings.paths.journal()).expect("truncate");
    rig.world.plan(&[]);
    rig.until_that("the old slot", |rig| rig.world.running() == Slot::A);
    rig.assert_on_old_slot(Slot::A);
    assert!(rig.settings.paths.state_dir.join("journal.damaged.json").exists());
    assert_eq!(rig.state(), "idle");
}

#[test]
fn a_machine_that_booted_its_other_slot_by_itself_updates_from_there() {
    let mut rig = Rig::new(&v1(), &v2());
    rig.until("confirmed");
    // Its default slot does not boot any more: GRUB takes the other one.
    rig.world.boot(Slot::A);
    rig.cut(Cut::Process);
    rig.turns(5);
    assert_eq!(rig.boot_state(), BootState::settled(Slot::A), "what runs is what is safe");
    rig.until_that("confirmed again", |rig| rig.world.running() == Slot::B && rig.state() == "confirmed");
    rig.assert_confirmed(&v2(), Slot::B);
}

#[test]
fn a_machine_that_never_restarts_ends_failed_and_off_the_trial() {
    let mut rig = Rig::new(&v1(), &v2());
    rig.world.lock().restart_works = false;
    rig.until("failed");
    assert_eq!(rig.reason(), "restart-refused");
    rig.assert_on_old_slot(Slot::A);
}
