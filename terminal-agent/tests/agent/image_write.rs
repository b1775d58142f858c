//! Writing the image: random failures half-way, devices that are too small, bytes that flip, segments that arrive
//! damaged, and the evidence that writing does not wait for the torrent.

use crate::support::release::{v1, v2};
use crate::support::{Port, Rig};
use fleet_types::{Slot, UpdateState};
use test_kit::SmallDisk;
use wire::v1::reports::Report;

#[test]
fn writes_that_fail_half_way_at_random_are_made_good() {
    let mut broken = 0;
    for seed in 0..12u64 {
        let mut rig = Rig::new(&v1(), &v2());
        rig.world.lock().pieces_a_look = 1;
        let mut random = seed;
        let mut failures = 0;
        while rig.settings.paths.journal().metadata().is_err() || rig.state() != "confirmed" {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            if random >> 62 == 0 && failures < 40 {
                let port = [Port::DiskWrite, Port::DiskSync, Port::DiskOpen][(random >> 33) as usize % 3];
                rig.world.fail(port, 1);
                failures += 1;
            }
            assert!(rig.turn());
            assert!(rig.seen.len() < 50, "seed {seed}: {:?}", rig.seen);
        }
        rig.world.heal();
        rig.assert_confirmed(&v2(), Slot::B);
        broken += failures;
    }
    assert!(broken > 60, "only {broken} failures were tried");
}

#[test]
fn a_slot_that_is_smaller_than_the_image_is_refused_before_anything_is_fetched() {
    let mut rig = Rig::new(&v1(), &v2());
    rig.turns(1);
    std::fs::File::options().write(true).open(rig.world.slot_path(Slot::B)).unwrap().set_len(100_000).unwrap();
    rig.until("failed");
    assert_eq!(rig.reason(), "slot-too-small");
    assert!(rig.world.lock().torrents.is_empty() && rig.world.lock().slot_writes == 0);
    rig.turns(100);
    assert_eq!(rig.state(), "failed", "nothing would be different before a newer plan");
}

#[test]
fn a_device_that_shrinks_meanwhile_ends_the_update_and_not_the_agent() {
    let mut rig = Rig::new(&v1(), &v2());
    rig.until("fetching");
    std::fs::File::options().write(true).open(rig.world.slot_path(Slot::B)).unwrap().set_len(100_000).unwrap();
    rig.until("failed");
    assert_eq!(rig.reason(), "slot-too-small");
    rig.assert_on_old_slot(Slot::A);
}

#[test]
fn one_flipped_byte_in_the_written_slot_is_found_and_trying_is_never_reached() {
    for at in [0, 131_072, 300_015] {
        let mut rig = Rig::new(&v1(), &v2());
        rig.until("installing");
        rig.world.flip_byte(Slot::B, at);
        rig.until("failed");
        assert_eq!(rig.reason(), "read-back-mismatch");
        assert!(rig.journal().memory.blamed.contains_key(&v2().payload.sha256));
        rig.turns(60);
        assert!(!rig.seen().contains("ready") && !rig.seen().contains("trying"), "{:?}", rig.seen);
        rig.assert_on_old_slot(Slot::A);
    }
}

#[test]
fn a_segment_that_does_not_check_in_the_complete_torrent_is_fetched_again() {
    let mut rig = Rig::new(&v1(), &v2());
    rig.world.lock().corrupt_next = Some(v2().artifact.length - 5);
    // The damaged piece must not have been applied from the incomplete file before.
    rig.world.lock().pieces_a_look = 1_000;
    rig.until("confirmed");
    assert_eq!(rig.world.lock().verifies, 1);
    rig.assert_confirmed(&v2(), Slot::B);
}

#[test]
fn verifications_are_bounded_when_nothing_helps() {
    let mut rig = Rig::new(&v1(), &v2());
    rig.world.lock().pieces_a_look = 1_000;
    let at = v2().artifact.length - 5;
    rig.until_that("failed", |rig| {
        rig.world.lock().corrupt_next = Some(at);
        rig.state() == "failed"
    });
    assert_eq!(rig.reason(), "artifact-does-not-check");
    assert_eq!(rig.world.lock().verifies, rig.settings.limits.verifies);
    assert!(rig.journal().memory.blamed.is_empty(), "the payload is not to blame for what a swarm delivers");
    rig.until_that("the bad file removed", |rig| rig.journal().artifacts.is_empty());
}

#[test]
fn segments_are_written_before_the_torrent_is_complete_and_the_log_proves_it() {
    let mut rig = Rig::new(&v1(), &v2());
    rig.world.lock().pieces_a_look = 2;
    rig.until("confirmed");
    let log = std::fs::read_to_string(rig.settings.paths.events()).unwrap();
    let lines: Vec<serde_json::Value> = log.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    let segments: Vec<_> = lines.iter().filter(|l| l["event"] == "segments").collect();
    let early = segments.iter().filter(|l| l["torrent_complete"] == false).filter_map(|l| l["done"].as_u64()).max();
    assert!(early.is_some_and(|done| done >= 2), "{segments:?}");
    assert!(segments.iter().any(|l| l["done"] == l["total"]));
    let moves: Vec<_> = lines.iter().filter(|l| l["event"] == "move").map(|l| l["to"].clone()).collect();
    assert_eq!(moves.last().unwrap(), "confirmed");
}

#[test]
fn a_data_partition_without_room_refuses_the_update_and_tries_again_later() {
    let mut rig = Rig::new(&v1(), &v2());
    rig.world.lock().free = 1_000;
    rig.until("failed");
    assert_eq!(rig.reason(), "data-full");
    rig.world.lock().free = 1 << 30;
    rig.until("confirmed");
    rig.assert_confirmed(&v2(), Slot::B);
}

#[test]
fn an_agent_whose_own_files_have_no_room_left_says_so_all_the_same() {
    let disk = SmallDisk::mount(8 << 20).unwrap();
    let mut rig = Rig::new(&v1(), &v2());
    rig.settings.paths.state_dir = disk.path().to_owned();
    rig.turns(1);
    disk.fill(0).unwrap();
    rig.world.lock().free = 0;
    rig.until("failed");
    assert_eq!(rig.reason(), "data-full");
    rig.turns(3);
    let told = |report: &Report| matches!(report, Report::Update { update, .. } if update.state == UpdateState::Failed);
    assert!(rig.world.lock().reports.iter().any(|n| told(&n.report)));
    disk.clear().unwrap();
    rig.world.lock().free = 1 << 30;
    rig.until("confirmed");
    rig.assert_confirmed(&v2(), Slot::B);
}
