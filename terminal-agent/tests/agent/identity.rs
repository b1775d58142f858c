//! Getting a certificate, keeping it young, and what the branch server may say against it.

use crate::support::release::{v1, v2};
use crate::support::{Cut, Port, Rig};
use trust::certificates::{Identity, JoinToken, Peer};
use wire::Code;

const DAY: std::time::Duration = std::time::Duration::from_secs(24 * 3600);

fn north() -> Peer {
    Identity::Branch("north".parse().unwrap()).into()
}

/// Plans and metadata last longer than certificates here.
fn rig() -> Rig {
    let rig = Rig::new(&v1(), &v2());
    rig.world.edit_plan(|p| p.expires += chrono::TimeDelta::days(3_000));
    rig
}

fn certified(rig: &Rig) -> Vec<Peer> {
    rig.world.lock().certified.clone()
}

fn key(rig: &Rig) -> String {
    std::fs::read_to_string(rig.settings.paths.state_dir.join("identity-key.pem")).unwrap()
}

#[test]
fn first_enrolment_at_1970_is_judged_by_the_images_time_and_says_what_it_waits_for() {
    let mut rig = rig();
    let (now, shipped) = (rig.world.lock().now, chrono::DateTime::from_timestamp(1_799_900_000, 0).unwrap());
    rig.settings.not_before = shipped;
    rig.world.lock().now = chrono::DateTime::from_timestamp(30, 0).unwrap();
    rig.world.fail(Port::Enrol, u32::MAX);
    rig.turns(5);
    assert_eq!(rig.world.lock().floor, shipped, "certificates are judged by it before the first metadata");
    let waiting = rig.journal().waiting.expect("it waits and does not say for what");
    assert_eq!(waiting.code, "not-enrolled");
    assert!(waiting.text.starts_with("Not enrolled yet: ") && waiting.text.contains("Check the clock"), "{waiting:?}");
    rig.world.heal();
    rig.world.lock().now = now;
    rig.until("confirmed");
}

#[test]
fn a_terminal_enrols_with_any_branch_of_the_tokens_fleet_and_renews_with_its_own_only() {
    let mut rig = rig();
    rig.until("confirmed");
    assert_eq!(certified(&rig), [Peer::AnyBranch]);
    rig.world.advance(DAY * 50);
    rig.turns(20);
    assert_eq!(certified(&rig).len(), 1, "it is young");
    rig.world.advance(DAY * 11);
    rig.turns(20);
    assert_eq!(certified(&rig), [Peer::AnyBranch, north()]);
    // Also after it expired, as of a terminal that was switched off; and the join token is long gone.
    let before = key(&rig);
    rig.cut(Cut::Power);
    assert!(!rig.world.path("join-token").exists());
    rig.world.advance(DAY * 400);
    rig.turns(20);
    assert_eq!(certified(&rig), [Peer::AnyBranch, north(), north()]);
    assert_eq!(key(&rig), before);
}

#[test]
fn a_renewal_that_fails_is_tried_again_and_stops_nothing_while_the_certificate_holds() {
    let mut rig = rig();
    rig.until("fetching");
    rig.world.fail(Port::Enrol, u32::MAX);
    rig.world.advance(DAY * 61);
    rig.until("confirmed");
    assert_eq!(certified(&rig).len(), 1);
    rig.world.heal();
    rig.turns(20);
    assert_eq!(certified(&rig).len(), 2);
}

#[test]
fn killed_before_the_answer_it_asks_again_with_the_same_key() {
    let mut rig = rig();
    let mut keys = std::collections::BTreeSet::new();
    for point in 0..6 {
        rig.world.kill.after(point);
        while rig.turn() {}
        rig.cut(Cut::Power);
        if rig.settings.paths.state_dir.join("identity-key.pem").exists() {
            keys.insert(key(&rig));
        }
    }
    rig.until("confirmed");
    assert!(certified(&rig).len() > 1, "it was never killed between asking and being answered");
    assert_eq!(keys.len(), 1);
}

#[test]
fn a_branch_that_lost_its_database_gets_the_same_key_again_by_the_join_token() {
    let mut rig = rig();
    rig.until("fetching");
    let before = key(&rig);
    rig.world.lock().known_key = None;
    rig.turns(50);
    assert_eq!(certified(&rig).len(), 1, "it has no token any more");
    rig.give_token();
    rig.until_that("certified again", |rig| certified(rig).len() == 2);
    rig.until("confirmed");
    assert_eq!(certified(&rig), [Peer::AnyBranch, north()], "its own branch, and no other that the token would let in");
    assert_eq!(key(&rig), before);
}

#[test]
fn branch_server_that_took_a_dead_ones_place_lets_the_terminal_in_by_its_certificate() {
    let mut rig = rig();
    rig.until("fetching");
    let before = key(&rig);
    assert!(!rig.world.path("join-token").exists());
    (rig.world.lock().known_key, rig.world.lock().readmits) = (None, true);
    rig.until_that("certified again", |rig| certified(rig).len() == 2);
    rig.until("confirmed");
    assert_eq!((certified(&rig), key(&rig)), (vec![Peer::AnyBranch, north()], before));
}

#[test]
fn join_token_is_deleted_once_the_branch_server_answers_to_the_certificate() {
    let mut rig = rig();
    let token = rig.world.path("join-token");
    // Enrolled, and no answer to the certificate yet.
    rig.world.fail(Port::Sync, u32::MAX);
    rig.until_that("certified", |rig| certified(rig).len() == 1);
    rig.turns(20);
    assert!(token.exists(), "it may still be needed");
    // An agent that stops meanwhile deletes it after its next start.
    rig.cut(Cut::Power);
    rig.world.heal();
    rig.until_that("deleted", |_| !token.exists());
    rig.until("confirmed");
    assert_eq!(certified(&rig), [Peer::AnyBranch]);
}

#[test]
fn join_token_of_another_fleet_is_kept() {
    let mut rig = rig();
    rig.until("fetching");
    let token = JoinToken::generate(fleet_types::Digest::new([7; 32])).to_text();
    test_kit::write_secret(&rig.world.path("join-token"), token.expose()).unwrap();
    rig.cut(Cut::Process);
    rig.until("confirmed");
    assert!(rig.world.path("join-token").exists());
}

#[test]
fn a_denied_terminal_keeps_what_it_has_and_comes_back_when_it_is_allowed() {
    for code in [Code::IdentityDenied, Code::OtherKey] {
        let mut rig = rig();
        rig.until("fetching");
        rig.world.lock().turned_away = Some(code);
        rig.turns(100);
        assert_eq!(certified(&rig).len(), 1, "{code}: it does not enrol again by itself");
        rig.world.lock().turned_away = None;
        rig.until("confirmed");
    }
}

#[test]
fn certificates_are_judged_by_the_newest_time_that_was_ever_verified() {
    let mut rig = rig();
    rig.until("confirmed");
    let (floor, now) = {
        let world = rig.world.lock();
        (world.floor, world.now)
    };
    assert!(floor > chrono::DateTime::UNIX_EPOCH && floor <= now, "{floor}");
    rig.cut(Cut::Power);
    rig.world.lock().floor = chrono::DateTime::UNIX_EPOCH;
    rig.turns(2);
    assert_eq!(rig.world.lock().floor, floor, "known again from the trust store");
}
