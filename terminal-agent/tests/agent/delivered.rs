//! A slot that was delivered counts as confirmed only after it was compared, once, with what the plan names.

use fleet_types::{Slot, UpdateState};
use terminal_agent::helper::server::Helper;
use terminal_agent::model::request::{Evidence, Order, Request};
use trust::client::Client;
use wire::v1::reports::Report;

use crate::support::release::{digest, v1, v2};
use crate::support::{Cut, Port, Rig, TestRelease, fakes};

/// The version that was delivered, published again with other bytes.
fn again() -> TestRelease {
    TestRelease::with("1.0.0", "", "published again")
}

#[test]
fn a_delivered_slot_that_holds_the_plans_payload_is_confirmed_after_one_look() {
    let mut rig = Rig::new(&v1(), &v1());
    rig.until("confirmed");
    rig.turns(3);
    assert_eq!(rig.world.moves(), [(None, UpdateState::Confirmed)]);
    assert_eq!((rig.world.writes(), rig.world.running()), (0, Slot::A));
    assert_eq!(rig.journal().memory.confirmed.get(&Slot::A), Some(&v1().payload.sha256));
    // Neither a restart nor another plan makes it look again.
    rig.cut(Cut::Process);
    rig.world.fail(Port::DiskOpen, u32::MAX);
    rig.world.plan(&[&v1()]);
    rig.turns(20);
    assert_eq!((rig.journal().trouble, rig.world.moves().len()), (None, 1));
}

#[test]
fn confirmed_with_other_bytes_a_delivered_slot_of_the_same_version_is_installed() {
    let mut rig = Rig::new(&v1(), &again());
    rig.until("assigned");
    assert!(!rig.seen().contains("confirmed"), "{:?}", rig.seen);
    rig.until("confirmed");
    rig.assert_confirmed(&again(), Slot::B);
    assert_eq!(rig.world.moves().first(), Some(&(None, UpdateState::Assigned)));
}

#[test]
fn a_delivered_slot_that_cannot_be_compared_yet_is_not_confirmed() {
    // A read that fails for longer counts as other content.
    for (port, times) in [(Port::DiskOpen, u32::MAX), (Port::DiskRead, 5), (Port::Helper, u32::MAX)] {
        let mut rig = Rig::new(&v1(), &v1());
        rig.world.fail(port, times);
        if times == u32::MAX {
            rig.turns(40);
        } else {
            rig.until_that("tried", |rig| rig.journal().trouble.is_some_and(|t| t.count == times));
        }
        assert_eq!((rig.state(), rig.world.moves().len()), ("idle", 0), "{port:?}");
        rig.world.heal();
        rig.until("confirmed");
        assert_eq!(rig.world.writes(), 0);
    }
}

#[test]
fn delivered_slot_with_an_unreadable_sector_is_written_to_the_other_slot_and_the_disk_is_named() {
    let mut rig = Rig::new(&v1(), &v1());
    rig.world.fail(Port::DiskRead, u32::MAX);
    rig.until("assigned");
    rig.world.heal();
    rig.until("confirmed");
    rig.assert_confirmed(&v1(), Slot::B);
    let told = |report: &Report| match report {
        Report::Update { update, .. } if update.state == UpdateState::Assigned => update.reason.clone(),
        _ => None,
    };
    let why = rig.world.lock().reports.iter().find_map(|n| told(&n.report)).expect("it does not say why");
    assert!(
        why.code == "slot-unreadable" && why.text.contains("cannot be read") && why.text.contains("disk"),
        "{why:?}"
    );
}

/// Killed anywhere on the way, it is confirmed and told once.
#[test]
fn killed_anywhere_a_delivered_slot_is_confirmed_and_told_once() {
    let mut rig = Rig::new(&v1(), &v1());
    rig.until("confirmed");
    rig.turns(3);
    let points = rig.world.kill.calls.load(std::sync::atomic::Ordering::SeqCst);
    assert!(points > 5, "only {points} points");
    for point in 0..points {
        let mut rig = Rig::new(&v1(), &v1());
        rig.world.kill.after(point);
        while rig.turn() {}
        rig.cut(Cut::Process);
        rig.until_that("told", |rig| rig.state() == "confirmed" && !rig.world.moves().is_empty());
        rig.turns(3);
        assert_eq!(rig.world.moves(), [(None, UpdateState::Confirmed)], "killed at point {point}");
    }
}

#[test]
fn the_helper_compares_the_running_slot_with_nothing_but_what_was_ordered() {
    let mut rig = Rig::new(&v1(), &again());
    rig.turns(2);
    let setup = fakes::setup(&rig.world, &rig.settings, "its own");
    let mut helper = Helper::open(setup, fakes::hands(&rig.world)).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let now = rig.world.lock().now;
    let mut ask = |request| {
        let answer = runtime.block_on(helper.answer(request, &[], now));
        answer.map_or_else(|reason| reason.code.to_string(), |_| String::new())
    };
    let order = |release: &TestRelease| {
        let (product, manifest) = ("kiosk".parse().unwrap(), digest(&release.manifest));
        Request::CheckRunning(Order { product, manifest, payload: release.payload.sha256 })
    };
    assert_eq!(ask(order(&v1())), "no-metadata");
    let files = Client::open(&rig.settings.paths.trust_store()).unwrap().files();
    let metadata = files.into_iter().map(|(name, bytes)| (name, String::from_utf8(bytes).unwrap())).collect();
    assert_eq!(ask(Request::Accept(Evidence { metadata, plan: rig.world.order() })), "");
    // What the slot holds was not ordered, and what was ordered it does not hold.
    assert_eq!(ask(order(&v1())), "plan-other-digest");
    assert_eq!(ask(order(&v2())), "plan-other-digest");
    assert_eq!(ask(order(&again())), "read-back-mismatch");
}
