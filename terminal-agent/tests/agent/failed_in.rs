//! For every state: each port that it uses fails there. A failure that passes is retried and the update succeeds; one
//! that stays leads to the right end or to waiting, and never to an advance.

use std::time::Duration;

use crate::support::release::{v1, v2};
use crate::support::{Port, Rig};
use fleet_types::Slot;
use terminal_agent::agent::Agent;

/// What comes of a failure that stays.
enum Comes {
    /// It waits where it is.
    Waits,
    /// It does not matter: the update succeeds all the same.
    Nothing,
    /// It ends like this, with this reason.
    Ends(&'static str, &'static str),
}
use Comes::{Ends, Nothing, Waits};

const ROWS: &[(&str, Port, Comes)] = &[
    ("idle", Port::Sync, Waits),
    ("idle", Port::Metadata, Waits),
    ("idle", Port::CommandLine, Waits),
    ("idle", Port::ImageVersion, Waits),
    ("idle", Port::BootRead, Waits),
    ("idle", Port::Helper, Waits),
    ("assigned", Port::Sync, Nothing),
    ("assigned", Port::Metadata, Nothing),
    ("assigned", Port::Report, Nothing),
    ("assigned", Port::CommandLine, Waits),
    ("assigned", Port::Helper, Waits),
    ("assigned", Port::BootRead, Ends("failed", "boot-state-unreadable")),
    ("assigned", Port::Manifest, Waits),
    ("assigned", Port::Index, Waits),
    ("assigned", Port::Torrent, Waits),
    ("assigned", Port::Room, Ends("failed", "data-unavailable")),
    ("fetching", Port::Sync, Nothing),
    ("fetching", Port::CommandLine, Waits),
    ("fetching", Port::Helper, Waits),
    ("fetching", Port::BootRead, Ends("failed", "boot-state-unreadable")),
    ("fetching", Port::SwarmAdd, Waits),
    ("fetching", Port::SwarmStatus, Waits),
    ("fetching", Port::SwarmPieces, Waits),
    ("fetching", Port::DiskOpen, Ends("failed", "slot-unavailable")),
    ("fetching", Port::DiskWrite, Ends("failed", "slot-unwritable")),
    ("fetching", Port::DiskSync, Ends("failed", "slot-unwritable")),
    ("installing", Port::CommandLine, Waits),
    ("installing", Port::BootRead, Ends("failed", "boot-state-unreadable")),
    ("installing", Port::DiskOpen, Ends("failed", "slot-unavailable")),
    ("installing", Port::DiskSync, Ends("failed", "slot-unwritable")),
    ("installing", Port::DiskRead, Ends("failed", "slot-unreadable")),
    ("ready", Port::CommandLine, Waits),
    ("ready", Port::Helper, Waits),
    ("ready", Port::BootRead, Ends("failed", "boot-state-unreadable")),
    ("ready", Port::BootId, Ends("failed", "boot-id-unknown")),
    ("ready", Port::FailedUnits, Ends("failed", "failed-units-unknown")),
    ("activating", Port::CommandLine, Waits),
    ("activating", Port::Helper, Waits),
    ("activating", Port::BootId, Waits),
    ("activating", Port::BootRead, Ends("failed", "boot-state-unreadable")),
    ("activating", Port::BootWrite, Ends("failed", "boot-state-unwritable")),
    ("activating", Port::Restart, Ends("failed", "restart-refused")),
    ("trying", Port::Sync, Nothing),
    ("trying", Port::CommandLine, Waits),
    ("trying", Port::BootId, Waits),
    ("trying", Port::BootRead, Ends("rolled-back", "not-healthy-yet")),
    ("trying", Port::BootWrite, Ends("rolled-back", "boot-state-unwritable")),
    ("trying", Port::Healthy, Ends("rolled-back", "branch-unreachable")),
    ("trying", Port::ImageVersion, Ends("rolled-back", "not-healthy-yet")),
    ("trying", Port::FailedUnits, Ends("rolled-back", "not-healthy-yet")),
    ("trying", Port::DropIns, Ends("rolled-back", "not-healthy-yet")),
    ("confirmed", Port::Helper, Nothing),
    ("confirmed", Port::Report, Nothing),
    ("confirmed", Port::Sync, Nothing),
    ("confirmed", Port::BootRead, Nothing),
];

fn rig_in(state: &str) -> Rig {
    let mut rig = Rig::new(&v1(), &v2());
    if state == "idle" {
        rig.world.edit_plan(|p| p.steps[0].terminals.clear());
        rig.turns(3);
        rig.world.plan(&[&v2()]);
    } else {
        rig.until(state);
    }
    assert_eq!(rig.state(), state);
    rig
}

#[test]
fn a_failure_that_passes_is_retried_and_the_update_succeeds() {
    for (state, port, _) in ROWS {
        let mut rig = rig_in(state);
        rig.world.fail(*port, 3);
        rig.until_that(&format!("confirmed after {port:?} failed 3 times in {state}"), |rig| {
            rig.state() == "confirmed"
        });
        rig.world.heal();
        rig.assert_confirmed(&v2(), Slot::B);
    }
}

#[test]
fn a_failure_that_stays_never_advances_the_state() {
    for (state, port, comes) in ROWS {
        let mut rig = rig_in(state);
        rig.world.fail(*port, u32::MAX);
        let what = format!("{port:?} failing in {state}");
        match comes {
            Waits => {
                rig.turns(150);
                assert_eq!(rig.state(), *state, "{what}: {:?}", rig.journal().waiting);
                let waiting = rig.journal().waiting;
                assert!(waiting.is_some() || *state == "idle", "{what}: nothing says what is waited for");
                rig.world.heal();
                rig.until("confirmed");
                rig.assert_confirmed(&v2(), Slot::B);
            }
            Nothing => {
                rig.until_that(&what, |rig| rig.state() == "confirmed");
                rig.turns(20);
                rig.world.heal();
                rig.turns(20);
                rig.assert_confirmed(&v2(), Slot::B);
            }
            Ends(end, reason) => {
                rig.until_that(&what, |rig| rig.state() == *end);
                assert_eq!(rig.reason(), *reason, "{what}");
                let blames = rig.journal().memory.blamed.contains_key(&v2().payload.sha256);
                assert!(!blames, "{what}: a broken port says nothing about the release");
                let tried = rig.seen().contains("trying");
                assert_eq!(tried, *state == "trying", "{what}: {:?}", rig.seen);
                rig.world.heal();
                rig.assert_on_old_slot(Slot::A);
            }
        }
    }
}

#[test]
fn an_artifact_that_cannot_be_removed_stays_noted_until_it_can() {
    let mut rig = rig_in("fetching");
    rig.turns(3);
    rig.world.edit_plan(|p| {
        p.serial += 1;
        p.steps.clear();
    });
    rig.world.advance(Duration::from_secs(60));
    rig.world.fail(Port::SwarmRemove, u32::MAX);
    rig.until("withdrawn");
    rig.turns(20);
    assert_eq!(rig.journal().artifacts.len(), 1);
    rig.world.heal();
    rig.until_that("the artifact gone", |rig| rig.journal().artifacts.is_empty());
    assert!(rig.world.lock().torrents.is_empty());
}

/// As with a full data partition: nothing that is due is done, and it must not be tried without a rest.
#[test]
fn an_agent_that_cannot_write_its_journal_rests_between_turns() {
    let rig = Rig::new(&v1(), &v2());
    let mut agent = Agent::new(rig.ports(), rig.settings.clone()).unwrap();
    let journal = rig.settings.paths.journal();
    let _ = std::fs::remove_file(&journal);
    std::fs::create_dir_all(journal.join("in the way")).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for _ in 0..3 {
        let pause = runtime.block_on(agent.turn());
        assert_eq!(pause, rig.settings.timing.retry_max.min(Duration::from_secs(10)));
    }
}
