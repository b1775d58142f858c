//! One contract, every backend: the same cases over GRUB's block, U-Boot's environment and a program of the machine's
//! own, each looked at by a second reader. Failures of the tools are made by strict stand-ins (tests/bin).

mod faults;
mod rigs;

use bootslot::{BlockError, BootError, BootState, Stored, Trial, Verified};
use fleet_types::Slot::{A, B};

use crate::support::states;
use rigs::Rig;

fn trial(left: u8) -> BootState {
    BootState { default: A, trial: Some(Trial { slot: B, left }) }
}

/// A store that is there and holds no state of ours becomes one by `create` alone.
fn fresh(rig: &dyn Rig) {
    assert!(matches!(rig.slots().read(), Err(BootError::Block { .. })), "{:?}", rig.slots().read());
    let before = rig.bytes();
    assert!(rig.slots().write(&trial(3)).is_err());
    assert_eq!(rig.bytes(), before, "a write makes no store");
    rig.slots().create(&BootState::settled(A)).unwrap();
    assert_eq!(rig.slots().read().unwrap(), BootState::settled(A));
    let error = rig.slots().create(&BootState::settled(B)).unwrap_err();
    assert!(matches!(error, BootError::AlreadyValid { .. }), "{error}");
    assert_eq!(rig.seen().unwrap(), BootState::settled(A));
}

/// Every state is read back as it was written, by us and by the second reader.
fn round_trip(rig: &dyn Rig) {
    rig.slots().create(&BootState::settled(B)).unwrap();
    for state in states() {
        rig.slots().write(&state).unwrap();
        assert_eq!(rig.slots().read().unwrap(), state);
        assert_eq!(rig.seen(), Some(state), "as another tool sees it");
    }
}

/// An update as a terminal does it, with the bootloader's part between: try, spend, confirm; try, clear; adopt.
fn update(rig: &dyn Rig) {
    let slots = rig.slots();
    slots.create(&BootState::settled(A)).unwrap();
    slots.write(&slots.read().unwrap().start_trial(B, 2).unwrap()).unwrap();
    rig.boot();
    assert_eq!(slots.read().unwrap(), trial(1));
    rig.boot();
    assert_eq!(slots.read().unwrap(), trial(0));
    rig.boot();
    assert_eq!(slots.read().unwrap(), trial(0), "a boot without attempts changes nothing");
    slots.write(&slots.read().unwrap().confirm(B).unwrap()).unwrap();
    assert_eq!(rig.seen(), Some(BootState::settled(B)));
    rig.boot();
    slots.write(&slots.read().unwrap().start_trial(A, 9).unwrap()).unwrap();
    rig.boot();
    slots.write(&slots.read().unwrap().clear_trial()).unwrap();
    assert_eq!(rig.seen(), Some(BootState::settled(B)));
    slots.write(&slots.read().unwrap().adopt(A).unwrap()).unwrap();
    assert_eq!(rig.seen(), Some(BootState::settled(A)));
}

/// Marks are read back, ignored by readers of the state alone, and gone with the next change of it.
fn marks(rig: &dyn Rig) {
    let slots = rig.slots();
    slots.create(&BootState::settled(A)).unwrap();
    assert_eq!(slots.read_marked().unwrap(), BootState::settled(A).into(), "an older agent's store has none");
    for (default, verified) in
        [(A, Verified::BOTH), (A, Verified::only(A)), (B, Verified::only(A)), (B, Verified::default())]
    {
        slots.mark(default, verified).unwrap();
        let expected =
            if slots.keeps_marks() { Stored::settled(default, verified) } else { BootState::settled(default).into() };
        assert_eq!(slots.read_marked().unwrap(), expected);
        assert_eq!((slots.read().unwrap(), rig.seen()), (expected.state, Some(expected.state)));
        // An older agent reads the state and writes another one.
        let trial = slots.read().unwrap().start_trial(default.other(), 5).unwrap();
        slots.write(&trial).unwrap();
        assert_eq!(slots.read_marked().unwrap(), trial.into());
        slots.write(&trial.clear_trial()).unwrap();
        assert_eq!(slots.read_marked().unwrap(), trial.clear_trial().into(), "{verified:?} outlived a trial");
    }
}

/// What others keep in the same store outlives every write.
fn foreign(rig: &dyn Rig) {
    rig.slots().create(&BootState::settled(A)).unwrap();
    rig.put_foreign("keep_me", "any value = 1");
    for state in states() {
        rig.slots().write(&state).unwrap();
        assert_eq!(rig.foreign("keep_me").as_deref(), Some("any value = 1"), "{state:?}");
    }
}

/// A store of other programs is taken over with what they keep in it, also when our own state in it is invalid.
fn taken_over(rig: &dyn Rig) {
    rig.put_foreign("boot_success", "1");
    rig.put_foreign("kernelopts", "root=UUID=7 ro quiet");
    let kept = || [rig.foreign("boot_success"), rig.foreign("kernelopts")].map(Option::unwrap_or_default);
    rig.slots().create(&BootState::settled(A)).unwrap();
    assert_eq!(kept(), ["1", "root=UUID=7 ro quiet"]);
    if !rig.judges_itself() {
        rig.put("C", "x", "1");
        rig.slots().create(&trial(1)).unwrap();
        assert_eq!(rig.slots().read().unwrap(), trial(1));
        assert_eq!(kept(), ["1", "root=UUID=7 ro quiet"]);
    }
}

/// A store that was damaged says so, takes no write, and is made again.
fn ruined(rig: &dyn Rig) {
    rig.slots().create(&trial(3)).unwrap();
    rig.ruin();
    let before = rig.bytes();
    for error in [rig.slots().read().unwrap_err(), rig.slots().write(&trial(1)).unwrap_err()] {
        assert!(matches!(error, BootError::Block { .. }), "{error}");
    }
    assert_eq!(rig.bytes(), before, "a refused write changes nothing");
    rig.slots().create(&trial(2)).unwrap();
    assert_eq!(rig.slots().read().unwrap(), trial(2));
    assert_eq!(rig.seen(), Some(trial(2)));
}

/// One of our variables with an invalid value makes the state unusable.
fn nonsense(rig: &dyn Rig) {
    rig.slots().create(&BootState::settled(A)).unwrap();
    for (default, trial, left) in [("C", "", "0"), ("A", "A", "1"), ("A", "B", "10"), ("A", "x", "1"), ("A", "B", "+1")]
    {
        rig.put(default, trial, left);
        let error = rig.slots().read().unwrap_err();
        let value = matches!(error, BootError::Block { source: BlockError::Value { .. }, .. });
        assert!(value || rig.judges_itself(), "{default}/{trial}/{left}: {error}");
        assert!(rig.slots().write(&BootState::settled(A)).is_err());
    }
}

macro_rules! contract {
    ($($rig:ident),+) => {
        $(mod $rig {
            #[test]
            fn fresh() {
                super::fresh(&super::rigs::$rig());
            }
            #[test]
            fn every_state_round_trips() {
                super::round_trip(&super::rigs::$rig());
            }
            #[test]
            fn an_update_from_trial_to_confirmed_cleared_and_adopted() {
                super::update(&super::rigs::$rig());
            }
            #[test]
            fn marks_are_kept_and_end_with_the_next_change() {
                super::marks(&super::rigs::$rig());
            }
            #[test]
            fn foreign_variables_survive() {
                super::foreign(&super::rigs::$rig());
            }
            #[test]
            fn create_keeps_foreign_variables() {
                super::taken_over(&super::rigs::$rig());
            }
            #[test]
            fn an_unusable_store_is_made_again() {
                super::ruined(&super::rigs::$rig());
            }
            #[test]
            fn nonsense_is_unusable() {
                super::nonsense(&super::rigs::$rig());
            }
        })+
    };
}

contract!(grub, uboot, uboot_strict, custom, custom_with_marks);
