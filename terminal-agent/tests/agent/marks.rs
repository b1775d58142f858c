//! Marks of verified slots: a slot that may hold something else than was signed is never one that the bootloader falls back
//! to.

use std::panic::{AssertUnwindSafe, catch_unwind};

use bootslot::{BootSlots, BootState, GrubEnv, Stored, Verified, read_block};
use fleet_types::Slot;
use terminal_agent::helper::server::Helper;
use terminal_agent::model::request::Request;
use terminal_agent::ports::DropInEnd;

use crate::support::release::{v1, v2};
use crate::support::{Cut, Port, Rig, TestRelease, fakes};

fn env(rig: &Rig) -> GrubEnv {
    GrubEnv::new(rig.world.path("grubenv"))
}

fn stored(rig: &Rig) -> Stored {
    env(rig).read_marked().unwrap()
}

/// The second block is one of the same state, and says the same.
fn assert_marked(rig: &Rig, default: Slot, verified: Verified) {
    assert_eq!(stored(rig), Stored::settled(default, verified));
    let copy = GrubEnv::new(env(rig).copy());
    assert_eq!(copy.read_marked().unwrap(), Stored::settled(default, verified), "kept twice");
}

/// What lies in the other slot is what head office ordered, to the byte.
fn is_whole(rig: &Rig, slot: Slot, release: &TestRelease) -> bool {
    rig.world.slot_digest(slot, release.image.len()) == release.payload.sha256
}

/// A helper with its own folder, and the other slot written by the agent.
fn ready() -> (Rig, Helper, tokio::runtime::Runtime) {
    let mut rig = Rig::new(&v1(), &v2());
    rig.until("ready");
    let setup = fakes::setup(&rig.world, &rig.settings, "its own");
    let helper = Helper::open(setup, fakes::hands(&rig.world)).unwrap();
    (rig, helper, tokio::runtime::Builder::new_current_thread().build().unwrap())
}

#[test]
fn a_slot_that_was_confirmed_is_marked_and_so_is_the_one_before() {
    let mut rig = Rig::new(&v1(), &v2());
    assert_eq!(stored(&rig).verified, None, "as it was delivered");
    rig.until("confirmed");
    assert_marked(&rig, Slot::B, Verified::BOTH);
    assert!(is_whole(&rig, Slot::B, &v2()) && is_whole(&rig, Slot::A, &v1()));
}

/// Wherever power fails: before the first byte is written, neither block marks the slot any more.
#[test]
fn a_slot_loses_its_mark_before_the_first_write() {
    for before in [None, Some(Verified::BOTH), Some(Verified::only(Slot::B))] {
        let mut point = 0;
        loop {
            let (rig, mut helper, runtime) = ready();
            before.into_iter().for_each(|verified| env(&rig).mark(Slot::A, verified).unwrap());
            let (writes, now) = (rig.world.writes(), rig.world.lock().now);
            rig.world.kill.after(point);
            let write = || runtime.block_on(helper.answer(Request::Write { offset: 0 }, b"not what was signed", now));
            let ended = catch_unwind(AssertUnwindSafe(write));
            if rig.world.writes() > writes || ended.is_ok() {
                assert_marked(&rig, Slot::A, Verified::only(Slot::A));
            }
            if ended.is_ok() {
                break;
            }
            point += 1;
        }
        assert!(point > 3, "only {point} points from {before:?}");
    }
}

#[test]
fn a_mark_that_cannot_be_cleared_keeps_the_slot_from_being_written() {
    let (rig, mut helper, runtime) = ready();
    env(&rig).mark(Slot::A, Verified::BOTH).unwrap();
    rig.world.fail(Port::BootWrite, 1);
    let (writes, now) = (rig.world.writes(), rig.world.lock().now);
    let mut write = || runtime.block_on(helper.answer(Request::Write { offset: 0 }, b"not what was signed", now));
    assert_eq!(write().unwrap_err().code, "boot-state-unwritable");
    assert_eq!(rig.world.writes(), writes);
    write().unwrap();
    assert_marked(&rig, Slot::A, Verified::only(Slot::A));
}

#[test]
fn a_release_that_was_rolled_back_is_still_what_was_signed() {
    let mut rig = Rig::new(&v1(), &v2());
    rig.world.lock().drop_ins.insert("2.0.0".into(), DropInEnd::Unhealthy);
    rig.until("rolled-back");
    rig.assert_on_old_slot(Slot::A);
    assert_marked(&rig, Slot::A, Verified::BOTH);
}

#[test]
fn a_default_that_did_not_start_loses_its_mark() {
    let mut rig = Rig::new(&v1(), &v2());
    rig.until("confirmed");
    rig.world.plan(&[]);
    rig.world.boot(Slot::A);
    rig.cut(Cut::Process);
    rig.turns(5);
    assert_marked(&rig, Slot::A, Verified::only(Slot::A));
}

#[test]
fn a_lost_block_leaves_no_mark_of_the_other_slot() {
    let mut rig = Rig::new(&v1(), &v2());
    rig.until("fetching");
    std::fs::File::create(env(&rig).path).unwrap();
    rig.until_that("a new block", |rig| env(rig).read().is_ok());
    rig.turns(2);
    assert_marked(&rig, Slot::A, Verified::only(Slot::A));
}

#[test]
fn after_an_older_agent_there_are_no_marks_and_the_next_update_sets_them() {
    let mut rig = Rig::new(&v1(), &v2());
    rig.until("confirmed");
    assert_marked(&rig, Slot::B, Verified::BOTH);
    // It knows three variables, and writes a state.
    let trial = BootState::settled(Slot::B).start_trial(Slot::A, 2).unwrap();
    env(&rig).write(&trial).unwrap();
    env(&rig).write(&BootState::settled(Slot::B)).unwrap();
    assert_eq!(stored(&rig).verified, None);
    assert_eq!(read_block(&std::fs::read(env(&rig).path).unwrap()), Ok(BootState::settled(Slot::B)));
    let v3 = TestRelease::new("3.0.0");
    rig.world.offer(&v3);
    rig.until_that("3.0.0 confirmed", |rig| rig.world.running() == Slot::A && rig.state() == "confirmed");
    assert_marked(&rig, Slot::A, Verified::BOTH);
}
