//! A terminal that was alone or lost files goes on by itself, and what it refuses is reported.

use std::time::Duration;

use crate::attacks::{attack, ordered, recovers, victim};
use crate::support::release::{v1, v2};
use crate::support::{Cut, Port, Rig};
use fleet_types::Slot;
use terminal_agent::agent::Agent;
use wire::v1::reports::Report;

#[test]
fn without_a_branch_server_a_restart_goes_on_with_the_accepted_plan() {
    let mut rig = Rig::new(&v1(), &v2());
    rig.until("ready");
    rig.cut(Cut::Power);
    rig.world.lock().branch_up = false;
    rig.until("trying");
    rig.world.lock().branch_up = true;
    rig.until("confirmed");
    // Even without a journal the order is known.
    let mut rig = Rig::new(&v1(), &v2());
    rig.until("assigned");
    rig.cut(Cut::Process);
    std::fs::remove_file(rig.settings.paths.journal()).unwrap();
    rig.world.lock().branch_up = false;
    rig.until("assigned");
}

#[test]
fn off_line_for_longer_than_every_expiry_it_recovers_by_itself() {
    let mut rig = victim();
    rig.world.lock().branch_up = false;
    rig.world.advance(Duration::from_secs(4_000 * 86_400));
    rig.turns(20);
    assert_eq!((rig.state(), rig.world.running()), ("confirmed", Slot::A), "what runs goes on");
    {
        let mut world = rig.world.lock();
        let now = world.now;
        world.fleet.rotate_root_key(now).unwrap();
        // The branch server was not off line: its certificate is young.
        world.branch.renew(now).unwrap();
        world.branch_up = true;
    }
    recovers(rig);
}

#[test]
fn without_a_root_file_or_with_a_damaged_store_it_does_not_start_and_says_what_to_do() {
    let mut rig = victim();
    rig.cut(Cut::Process);
    let (store, root) = (rig.settings.paths.trust_store(), rig.settings.trust_root.clone());
    let start = |rig: &Rig| Agent::new(rig.ports(), rig.settings.clone()).map(drop);
    std::fs::remove_file(&root).unwrap();
    start(&rig).unwrap();
    let damage = |path: &std::path::Path| {
        let length = path.metadata().unwrap().len() / 2;
        std::fs::File::options().write(true).open(path).unwrap().set_len(length).unwrap();
    };
    damage(&rig.settings.paths.accepted());
    let said = start(&rig).unwrap_err().to_string();
    assert!(said.contains("plan.json is damaged: move it away"), "{said}");
    std::fs::remove_file(rig.settings.paths.accepted()).unwrap();
    damage(&store);
    let said = start(&rig).unwrap_err().to_string();
    assert!(said.contains(&store.display().to_string()) && said.contains("Move the trust store away"), "{said}");
    std::fs::remove_file(&store).unwrap();
    let said = start(&rig).unwrap_err().to_string();
    assert!(said.contains(&root.display().to_string()) && said.contains("`filial trust init`"), "{said}");
}

/// The codes of what this terminal reported to refuse, in order; none where it refuses nothing any more.
fn refusals(rig: &Rig) -> Vec<Option<String>> {
    let refusals = rig.world.lock().reports.clone().into_iter().filter_map(|n| match n.report {
        Report::TerminalRefusesPlan { terminal, reason } if terminal.as_str() == "till-1" => Some(reason),
        _ => None,
    });
    refusals.map(|reason| reason.map(|r| r.code.to_string())).collect()
}

#[test]
fn a_refused_plan_and_its_end_are_reported_once_each() {
    let mut rig = victim();
    assert_eq!(attack(&mut rig, |w| ordered(w, |plan| plan.branch = "south".parse().unwrap())), "plan-wrong-branch");
    rig.world.advance(Duration::from_secs(600));
    rig.turns(10);
    assert_eq!(refusals(&rig), [Some("plan-wrong-branch".to_owned())]);
    // Another reason is news.
    rig.world.lock().forged = None;
    attack(&mut rig, |w| ordered(w, |plan| plan.serial = 99));
    assert_eq!(refusals(&rig).last(), Some(&Some("plan-replayed".to_owned())));
    rig.world.lock().forged = None;
    rig.world.offer(&v2());
    rig.until("confirmed");
    assert_eq!(refusals(&rig).last(), Some(&None));
    assert_eq!(refusals(&rig).len(), 3);
}

#[test]
fn trouble_before_an_updates_first_move_is_reported_and_so_is_its_end() {
    for (port, code) in [
        (Port::CommandLine, "running-slot-unknown"),
        (Port::ImageVersion, "running-version-unknown"),
        (Port::BootRead, "boot-state-unreadable"),
    ] {
        let mut rig = victim();
        rig.world.fail(port, u32::MAX);
        rig.world.offer(&v2());
        rig.until_that("reported", |rig| refusals(rig) == [Some(code.to_owned())]);
        rig.turns(20);
        assert_eq!(refusals(&rig).len(), 1, "once");
        rig.world.heal();
        rig.until("confirmed");
        rig.until_that("reported as past", |rig| refusals(rig) == [Some(code.to_owned()), None]);
    }
}
