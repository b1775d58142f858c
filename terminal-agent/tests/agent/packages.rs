//! Packages: fetched, unpacked whole or not at all, replaced, removed; and never in the way of the slot.

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use crate::support::package::{of_tar, tar, tools};
use crate::support::release::{v1, v2};
use crate::support::{Cut, Rig, TestRelease};
use artifact::{Index, PayloadId};
use fleet_types::Slot;
use terminal_agent::packages::place::PlaceError;

/// A terminal that runs what its plan wants, whose plan names these packages too.
fn rig(packages: &[&TestRelease]) -> Rig {
    let rig = Rig::new(&v1(), &v1());
    rig.offer_packages(packages);
    rig
}

const FILES: [&str; 4] = [
    "tools/1.0.0/tools.complete",
    "tools/1.0.0/tools/bin/tool",
    "tools/1.0.0/tools/share/filling",
    "tools/1.0.0/tools/version",
];

fn assert_whole(rig: &Rig) {
    assert_eq!(rig.files(), FILES);
    let place = rig.place("1.0.0");
    let read = |name: &str| std::fs::read_to_string(place.tree().join(name)).unwrap();
    assert_eq!(read("version"), "tools 1.0.0\n");
    assert!(place.recheck(&place.record().unwrap()).unwrap());
}

#[test]
fn a_package_is_fetched_unpacked_seeded_and_told() {
    let release = tools("1.0.0");
    let mut rig = rig(&[&release]);
    rig.until_complete("1.0.0");
    rig.turns(3);
    assert_whole(&rig);
    let mode = |name: &str| rig.place("1.0.0").tree().join(name).metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("bin/tool"), mode("share/filling")), (0o755, 0o644), "only the execute bit is taken over");
    assert!(rig.world.lock().torrents.contains_key(&release.artifact.info_hash), "it is seeded");
    let told = rig.told();
    assert_eq!(
        told.iter().map(|p| (p.complete, p.trouble.is_some())).collect::<Vec<_>>(),
        [(false, false), (true, false)]
    );
    assert_eq!((told[1].have_bytes, told[1].payload), (release.artifact.length, release.payload.sha256));
    assert_eq!(
        (rig.state(), rig.world.running(), rig.world.writes()),
        ("confirmed", Slot::A, 0),
        "no matter of the slot"
    );
}

#[test]
fn nothing_of_a_package_is_done_while_the_slot_is_updated() {
    let mut rig = Rig::new(&v1(), &v2());
    rig.offer_packages(&[&tools("1.0.0")]);
    rig.until_that("confirmed", |rig| {
        let (state, package) = (rig.journal().state, rig.package("1.0.0"));
        assert!(!state.is_active() || !package.is_some_and(|p| p.prepared), "prepared in {}", state.name());
        state.name() == "confirmed"
    });
    rig.until_complete("1.0.0");
    rig.assert_confirmed(&v2(), Slot::B);
}

#[test]
fn the_version_before_stays_until_its_successor_is_complete() {
    let mut rig = rig(&[&tools("1.0.0")]);
    rig.until_complete("1.0.0");
    rig.world.lock().pieces_a_look = 0;
    rig.offer_packages(&[&tools("2.0.0")]);
    rig.until_that("2.0.0 to be fetched", |rig| rig.package("2.0.0").is_some_and(|p| p.prepared));
    rig.turns(50);
    assert_whole(&rig);
    rig.world.lock().pieces_a_look = 4;
    rig.until_complete("2.0.0");
    rig.until_that("1.0.0 gone", |rig| rig.package("1.0.0").is_none());
    rig.turns(3);
    assert!(rig.files().iter().all(|f| f.starts_with("tools/2.0.0/")), "{:?}", rig.files());
    let last = rig.told().pop().unwrap();
    assert!(last.removed && last.version.to_string() == "1.0.0", "{last:?}");
}

#[test]
fn what_a_command_runs_in_is_removed_only_afterwards() {
    let mut rig = rig(&[&tools("1.0.0")]);
    rig.until_complete("1.0.0");
    let held = rig.place("1.0.0").hold().unwrap();
    rig.offer_packages(&[]);
    rig.turns(40);
    assert_whole(&rig);
    assert_eq!(rig.package("1.0.0").unwrap().trouble.unwrap().code, "package-in-use");
    drop(held);
    rig.until_that("gone", |rig| rig.package("1.0.0").is_none());
    assert_eq!(rig.files(), <[String; 0]>::default());
}

#[test]
fn a_hostile_package_leaves_nothing_and_a_good_one_follows() {
    let hostile: [(&str, Vec<u8>); 8] = [
        ("a link", tar(&[("a", b'2', 0o644, b"")])),
        ("a hard link", tar(&[("ok", b'0', 0o644, b"x"), ("a", b'1', 0o644, b"")])),
        ("a device", tar(&[("a", b'3', 0o644, b"")])),
        ("a way out", tar(&[("ok", b'0', 0o644, b"x"), ("../../out", b'0', 0o644, b"x")])),
        ("an absolute path", tar(&[("/tmp/out", b'0', 0o644, b"x")])),
        ("one path twice", tar(&[("a", b'0', 0o644, b"x"), ("a", b'0', 0o644, b"y")])),
        ("a file in a file", tar(&[("a", b'0', 0o644, b"x"), ("a/b", b'0', 0o644, b"y")])),
        ("no tar", b"#!/bin/sh\nrm -rf /\n".repeat(40)),
    ];
    for (what, bytes) in hostile {
        let mut rig = rig(&[&of_tar("1.0.0", bytes)]);
        rig.until_that(what, |rig| rig.package("1.0.0").is_some_and(|p| p.refused));
        rig.turns(20);
        assert_eq!(rig.files(), <[String; 0]>::default(), "{what}");
        let told = rig.told();
        assert_eq!(told.len(), 2, "{what}: it is told once and left alone: {told:#?}");
        assert_eq!(told[1].trouble.as_ref().unwrap().code, "package-refused", "{what}");
        assert!(!rig.settings.paths.data_dir.join("packages/out").exists());
        rig.offer_packages(&[&tools("1.0.1")]);
        rig.until_complete("1.0.1");
    }
}

#[test]
fn a_full_disk_is_told_once_and_tried_again() {
    let release = tools("1.0.0");
    let mut rig = rig(&[&release]);
    rig.world.lock().free = 1 << 20;
    rig.until_that("trouble", |rig| rig.package("1.0.0").is_some_and(|p| p.trouble.is_some()));
    rig.turns(30);
    assert_eq!(rig.package("1.0.0").unwrap().trouble.unwrap().code, "data-full");
    assert_eq!(rig.told().len(), 1, "{:?}", rig.told());
    rig.world.lock().free = 1 << 30;
    rig.until_that("fetched", |rig| rig.package("1.0.0").is_some_and(|p| p.prepared));
    // Full once more, when all is fetched and is to be unpacked.
    rig.world.lock().free = 1 << 20;
    rig.until_that("trouble", |rig| rig.package("1.0.0").is_some_and(|p| p.trouble.is_some()));
    assert!(!rig.is_complete("1.0.0"));
    rig.world.lock().free = 1 << 30;
    rig.until_complete("1.0.0");
    assert_whole(&rig);
}

#[test]
fn an_artifact_that_does_not_check_is_verified_and_fetched_again() {
    let release = tools("1.0.0");
    let mut rig = rig(&[&release]);
    rig.world.lock().corrupt_next = Some(release.artifact.index_length + 5_000);
    rig.until_complete("1.0.0");
    assert_eq!(rig.world.lock().verifies, 1);
    assert_whole(&rig);
    assert!(rig.told().iter().any(|p| p.trouble.as_ref().is_some_and(|t| t.code == "artifact-does-not-check")));
}

#[test]
fn a_package_that_vanishes_is_unpacked_again_and_strangers_are_swept() {
    let mut rig = rig(&[&tools("1.0.0")]);
    rig.until_complete("1.0.0");
    std::fs::remove_dir_all(rig.place("1.0.0").tree()).unwrap();
    rig.until_that("noticed", |rig| !rig.is_complete("1.0.0"));
    rig.until_complete("1.0.0");
    assert_whole(&rig);
    // The journal is lost: what the plan names is taken up as it lies, what it does not name is removed.
    let stranger = rig.settings.paths.data_dir.join("packages/old/0.1.0/old");
    std::fs::create_dir_all(stranger).unwrap();
    let requests = rig.world.lock().requests;
    rig.cut(Cut::Process);
    std::fs::remove_file(rig.settings.paths.journal()).unwrap();
    rig.until_complete("1.0.0");
    assert_whole(&rig);
    assert!(!rig.settings.paths.data_dir.join("packages/old/0.1.0").exists());
    assert!(rig.world.lock().requests < requests + 10, "nothing was fetched again");
}

#[test]
fn cut_between_any_two_steps_of_unpacking_it_converges() {
    let release = tools("1.0.0");
    // Each cut leaves the disk as the steps before it did.
    for steps in 0..=4 {
        let mut rig = rig(&[&release]);
        rig.world.lock().pieces_a_look = 0;
        rig.until_that("prepared", |rig| rig.package("1.0.0").is_some_and(|p| p.prepared));
        let (place, file) = (rig.place("1.0.0"), rig.world.path("whole.seg"));
        std::io::Write::write_all(&mut std::fs::File::create(&file).unwrap(), &release.artifact_bytes).unwrap();
        let id = PayloadId { sha256: release.payload.sha256, length: release.payload.length };
        let index = Index::parse(&release.index, id).unwrap();
        let mut record = None;
        for step in 0..steps {
            match step {
                0 => place.clear().unwrap(),
                1 => record = Some(place.unpack(&file, &index).unwrap()),
                2 => place.settle().unwrap(),
                _ => place.vouch(record.as_ref().unwrap()).unwrap(),
            }
            assert_eq!(place.holds(&release.payload.sha256), step == 3, "whole after step {step} only");
        }
        rig.cut(Cut::Power);
        rig.world.lock().pieces_a_look = 4;
        rig.until_complete("1.0.0");
        assert_whole(&rig);
    }
}

#[test]
fn cut_short_within_a_file_nothing_is_taken_for_a_package() {
    let release = tools("1.0.0");
    let mut rig = rig(&[&release]);
    rig.until_complete("1.0.0");
    let (place, file) = (rig.place("1.0.0"), rig.world.path("short.seg"));
    let short = &release.artifact_bytes[..release.artifact_bytes.len() / 2];
    std::io::Write::write_all(&mut std::fs::File::create(&file).unwrap(), short).unwrap();
    let id = PayloadId { sha256: release.payload.sha256, length: release.payload.length };
    let failed = place.install(&file, &Index::parse(&release.index, id).unwrap()).unwrap_err();
    assert!(matches!(failed, PlaceError::Artifact(_)), "{failed:?}");
    assert_eq!(rig.files(), <[String; 0]>::default(), "what was there before is gone first");
    rig.until_that("noticed", |rig| !rig.is_complete("1.0.0"));
    rig.until_complete("1.0.0");
    assert_whole(&rig);
}

#[test]
fn another_artifact_of_an_unpacked_package_is_fetched_only_once_it_is_lost() {
    let release = tools("1.0.0");
    let again = release.encoded_again();
    let mut rig = rig(&[&release]);
    rig.until_complete("1.0.0");
    rig.offer_packages(&[&again]);
    rig.until_that("it in the journal", |rig| rig.package("1.0.0").is_some_and(|p| p.artifact == again.artifact));
    rig.turns(40);
    assert!(rig.is_complete("1.0.0"), "the same payload stays unpacked");
    assert!(!rig.world.lock().torrents.contains_key(&again.artifact.info_hash), "nothing was fetched");
    assert_eq!(rig.told().len(), 2, "{:#?}", rig.told());
    std::fs::remove_dir_all(rig.place("1.0.0").tree()).unwrap();
    rig.until_that("noticed", |rig| !rig.is_complete("1.0.0"));
    rig.until_complete("1.0.0");
    assert!(rig.world.lock().torrents.contains_key(&again.artifact.info_hash));
    assert_whole(&rig);
}

#[test]
fn killed_anywhere_the_package_is_whole_in_the_end() {
    let release = tools("1.0.0");
    let points = {
        let mut rig = rig(&[&release]);
        rig.until_complete("1.0.0");
        rig.turns(3);
        rig.world.kill.calls.load(std::sync::atomic::Ordering::SeqCst)
    };
    assert!(points > 20, "only {points} points: the kill switch is not wired");
    for how in [Cut::Process, Cut::Power] {
        for point in 0..points {
            let mut rig = rig(&[&release]);
            rig.world.kill.after(point);
            while rig.turn() {}
            rig.cut(how);
            rig.until_complete("1.0.0");
            rig.turns(3);
            assert_whole(&rig);
            assert!(rig.told().last().is_some_and(|p| p.complete), "{how:?} at point {point}: never told");
        }
    }
}

#[test]
fn what_rests_goes_on_at_once_when_somebody_asks() {
    let mut rig = rig(&[&tools("1.0.0")]);
    rig.world.lock().free = 1 << 20;
    rig.turns(200);
    rig.world.lock().free = 1 << 30;
    rig.look_again();
    rig.turns(2);
    assert!(rig.package("1.0.0").unwrap().prepared, "{:?}", rig.package("1.0.0"));
    rig.world.advance(Duration::from_secs(60));
    rig.until_complete("1.0.0");
}
