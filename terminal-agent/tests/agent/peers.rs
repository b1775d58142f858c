//! Measures that an engine asks for: the agent takes them in order, reports bad data, and adds a renewed torrent again. The
//! engine is not Transmission: it knows for certain who sent bad data, and keeps unfinished content under another name.

use std::net::IpAddr;

use crate::support::package::tools;
use crate::support::release::{v1, v2};
use crate::support::{Port, Rig};
use fleet_types::Slot;
use swarm::BadData;
use swarm::tend::{Measure, Renewal};
use wire::v1::reports::Report;

fn culprit() -> IpAddr {
    [10, 1, 0, 66].into()
}

fn bad_piece() -> BadData {
    BadData { wasted_bytes: 16_384, candidates: vec![culprit()], certain: true }
}

fn fetching() -> Rig {
    let mut rig = Rig::new(&v1(), &v2());
    rig.world.lock().pieces_a_look = 1;
    rig.until_that("fetching", |rig| rig.state() == "fetching" && !rig.world.lock().torrents.is_empty());
    rig
}

fn reported(rig: &Rig) -> Vec<(Vec<IpAddr>, u64, bool)> {
    let bad = |report: &Report| match report {
        Report::BadPeer { addresses, wasted_bytes, certain, .. } => Some((addresses.clone(), *wasted_bytes, *certain)),
        _ => None,
    };
    rig.world.lock().reports.iter().filter_map(|numbered| bad(&numbered.report)).collect()
}

#[test]
fn measures_are_taken_in_order_bad_data_is_reported_and_the_renewed_torrent_is_added_again() {
    let mut rig = fetching();
    let asked =
        vec![Measure::Report(bad_piece()), Measure::Refuse([culprit()].into()), Measure::Renew(Renewal::BadData)];
    rig.world.lock().judgements.push_back(asked.clone());
    rig.until_that("the measures", |rig| rig.world.lock().measures.len() == 3);
    assert_eq!(rig.world.lock().measures, asked);
    rig.until_that("the torrent again", |rig| !rig.world.lock().torrents.is_empty());
    rig.world.lock().pieces_a_look = 4;
    rig.until("confirmed");
    rig.assert_confirmed(&v2(), Slot::B);
    assert_eq!(reported(&rig), [(vec![culprit()], 16_384, true)]);
    assert_eq!(rig.world.lock().measures, asked, "each was taken once");
}

#[test]
fn measure_that_fails_keeps_the_rest_back_and_stops_no_update() {
    let mut rig = fetching();
    let asked = vec![Measure::Refuse([culprit()].into()), Measure::Renew(Renewal::BadData)];
    rig.world.fail(Port::SwarmTend, 1);
    rig.world.lock().judgements.extend([asked.clone(), vec![]]);
    rig.until_that("both judgements", |rig| rig.world.lock().judgements.is_empty());
    assert!(rig.world.lock().measures.is_empty(), "what follows a failure waits for the next look");
    assert!(!rig.world.lock().torrents.is_empty());
    rig.world.lock().pieces_a_look = 4;
    rig.until("confirmed");
    rig.assert_confirmed(&v2(), Slot::B);
    assert!(reported(&rig).is_empty());
}

#[test]
fn trackers_that_do_not_answer_keep_no_other_measure_back() {
    let mut rig = fetching();
    rig.world.fail(Port::SwarmTend, 1);
    rig.world.lock().judgements.push_back(vec![Measure::Announce, Measure::Report(bad_piece())]);
    rig.until_that("the report", |rig| rig.world.lock().measures.len() == 1);
    assert_eq!(rig.world.lock().measures, [Measure::Report(bad_piece())]);
    rig.until_that("it at the branch", |rig| !reported(rig).is_empty());
}

#[test]
fn a_tracker_that_moved_is_followed_in_the_middle_of_fetching() {
    let moved = "http://10.1.0.1:7979/announce";
    let mut slot = fetching();
    let mut package = Rig::new(&v1(), &v1());
    package.world.lock().pieces_a_look = 1;
    package.offer_packages(&[&tools("1.0.0")]);
    package.until_that("fetching", |rig| !rig.world.lock().torrents.is_empty());
    for rig in [&mut slot, &mut package] {
        rig.world.lock().tracker = moved.into();
        rig.world.lock().judgements.push_back(vec![Measure::Announce]);
        rig.until_that("the tracker of today", |rig| {
            rig.world.lock().torrents.values().all(|torrent| torrent.torrent.tiers() == [[moved]])
        });
        let adds = rig.world.lock().adds;
        rig.world.lock().judgements.push_back(vec![Measure::Announce]);
        rig.until_that("another look", |rig| rig.world.lock().judgements.is_empty());
        rig.turns(2);
        assert_eq!(rig.world.lock().adds, adds, "it is added again only for another address");
    }
    slot.world.lock().pieces_a_look = 4;
    slot.until("confirmed");
}

/// Lets the engine stop the only torrent with an error for a while; how often it was added again in that time, and in how
/// many turns.
fn stop_for_a_while(rig: &mut Rig, turns: usize) -> u32 {
    rig.world.lock().stops_with = Some("No space left on device".into());
    let before = rig.world.lock().adds;
    rig.turns(turns);
    let adds = rig.world.lock().adds - before;
    rig.world.lock().stops_with = None;
    adds
}

#[test]
fn slot_torrent_stopped_with_an_error_is_reported_and_added_again_with_pauses() {
    let mut rig = fetching();
    let adds = stop_for_a_while(&mut rig, 80);
    assert!((5..=10).contains(&adds), "added {adds} times in 80 turns");
    let waiting = rig.journal().waiting.expect("nothing says what is waited for");
    assert_eq!(waiting.code, "transfer-trouble");
    assert!(waiting.text.contains("No space left on device"), "{}", waiting.text);
    rig.world.lock().pieces_a_look = 4;
    rig.until("confirmed");
}

#[test]
fn package_torrent_stopped_with_an_error_is_reported_and_added_again_with_pauses() {
    let mut rig = Rig::new(&v1(), &v1());
    rig.world.lock().pieces_a_look = 1;
    rig.offer_packages(&[&tools("1.0.0")]);
    rig.until_that("fetching", |rig| !rig.world.lock().torrents.is_empty());
    let adds = stop_for_a_while(&mut rig, 80);
    assert!((5..=10).contains(&adds), "added {adds} times in 80 turns");
    let trouble = rig.package("1.0.0").unwrap().trouble.expect("no trouble is recorded");
    assert_eq!(trouble.code, "transfer-trouble");
    assert!(trouble.text.contains("No space left on device"), "{}", trouble.text);
    let complaints = |rig: &Rig| rig.told().iter().filter(|p| p.trouble.is_some()).count();
    assert_eq!(complaints(&rig), 1, "reported once: {:#?}", rig.told());
    rig.until_that("it runs again", |rig| rig.package("1.0.0").is_some_and(|p| p.trouble.is_none()));
    assert!(!rig.is_complete("1.0.0"), "head office learns at once that the trouble is over");
    rig.until_complete("1.0.0");
    assert_eq!(complaints(&rig), 1, "{:#?}", rig.told());
}
