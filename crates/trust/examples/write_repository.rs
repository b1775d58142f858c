//! Writes a repository with two roots, a release, its artifact and a withdrawn release: what other readers of TUF are shown.
//!
//!     cargo run -p trust --example write_repository -- FOLDER UNIX_SECONDS
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "an example ends at the first thing that goes wrong")]

#[allow(dead_code, reason = "the tests use more of it")]
#[path = "../tests/it/fleet.rs"]
mod fleet;

use std::path::Path;

use chrono::DateTime;
use fleet::{Fleet, key, kiosk, set};
use trust::repository::{Change, RoleName, SignedPayload, store};

/// The payload that the release carries.
const PAYLOAD: &[u8] = b"a root filesystem, for all that a reader of metadata knows\n";

fn main() {
    let arguments: Vec<_> = std::env::args().collect();
    let [_, folder, seconds] = &arguments[..] else { panic!("usage: write_repository FOLDER UNIX_SECONDS") };
    let (folder, now) =
        (Path::new(folder), DateTime::from_timestamp(seconds.parse().expect("seconds"), 0).expect("a time"));
    let mut fleet = Fleet::at(now);
    let pinned = fleet.repository.root_file().to_vec();

    let payload = SignedPayload { sha256: sha256(PAYLOAD), length: PAYLOAD.len() as u64, ..fleet::payload("1.0.0+b7") };
    let release = fleet.change(&kiosk(), &[Change::Release(vec![payload.clone()])]).unwrap();
    fleet.take(release).unwrap();
    fleet.release("0.9.0");
    let derived = fleet.change(&RoleName::Derived, &[Change::Artifacts(vec![fleet::artifact(&payload)])]).unwrap();
    fleet.take(derived).unwrap();
    fleet.publish().unwrap();
    let withdrawn = fleet.change(&kiosk(), &[Change::Withdraw("0.9.0".parse().unwrap())]).unwrap();
    fleet.take(withdrawn).unwrap();

    let new: Vec<_> = (0..3).map(|_| key()).collect();
    let mut spec = fleet.repository.root_spec().unwrap();
    spec.root = set(&new, 2);
    fleet.rotate_root(&spec, &new).unwrap();
    fleet.publish().unwrap();

    store::write(&folder.join("metadata"), &fleet.repository).unwrap();
    service_kit::durable::write_file(&folder.join("pinned-root.json"), &pinned).unwrap();
    // With consistent snapshots a target's file has its digest before its name (TUF 1.0, 6.2).
    let target = folder.join("targets").join(payload.path());
    std::fs::create_dir_all(target.parent().unwrap()).unwrap();
    let name = format!("{}.{}", payload.sha256, payload.payload);
    service_kit::durable::write_file(&target.with_file_name(name), PAYLOAD).unwrap();
}

fn sha256(bytes: &[u8]) -> fleet_types::Digest {
    use aws_lc_rs::digest::{SHA256, digest};
    fleet_types::Digest::new(digest(&SHA256, bytes).as_ref().try_into().unwrap())
}
