//! The client: what it accepts, keeps over a restart, and serves on.

use crate::fleet::{Fleet, key, kiosk, payload, set};
use crate::mirror::{Machine, Mirror, Trick};
use chrono::TimeDelta;
use proptest::prelude::*;
use trust::Why;
use trust::client::Client;
use trust::repository::{RoleName, SignedPayload};

fn known(machine: &Machine, version: &str) -> Result<SignedPayload, Why> {
    let trusted = machine.client.trusted().ok_or(Why::NotSigned)?;
    trusted.payload(&crate::fleet::product(), &version.parse().unwrap(), "rootfs").map_err(|r| r.why())
}

#[tokio::test]
async fn a_new_release_is_seen_and_kept_over_a_restart() {
    let mut fleet = Fleet::new();
    let mut machine = Machine::pinned(&fleet.repository, fleet.now);
    machine.update(&Mirror::of(&fleet.repository)).await.unwrap();
    assert_eq!(known(&machine, "1.0.0"), Err(Why::NotSigned));
    fleet.release("1.0.0");
    fleet.publish().unwrap();
    machine.update(&Mirror::of(&fleet.repository)).await.unwrap();
    assert_eq!(known(&machine, "1.0.0"), Ok(payload("1.0.0")));
    let machine = machine.restarted();
    assert_eq!(known(&machine, "1.0.0"), Ok(payload("1.0.0")));
    assert_eq!(machine.client.trusted().unwrap().plan_keys().unwrap(), set(&fleet.plan, 1));
}

#[tokio::test]
async fn what_is_held_is_not_fetched_again() {
    let mut fleet = Fleet::new();
    let mut machine = Machine::pinned(&fleet.repository, fleet.now);
    let asked = |m: &Mirror| m.asked.lock().unwrap().clone();
    let name = |f: &Fleet, role: &RoleName| role.file(f.repository.version(role).unwrap());
    let mirror = Mirror::of(&fleet.repository);
    machine.update(&mirror).await.unwrap();
    assert_eq!(asked(&mirror).len(), 7);
    let mut machine = machine.restarted();
    let mirror = Mirror::of(&fleet.repository);
    machine.update(&mirror).await.unwrap();
    assert_eq!(asked(&mirror), ["2.root.json", "timestamp.json"]);
    fleet.release("1.0.0");
    fleet.publish().unwrap();
    let mirror = Mirror::of(&fleet.repository);
    machine.update(&mirror).await.unwrap();
    let (snapshot, product) = (name(&fleet, &RoleName::Snapshot), name(&fleet, &kiosk()));
    assert_eq!(asked(&mirror), ["2.root.json", "timestamp.json", &snapshot, &product]);
    assert_eq!(known(&machine, "1.0.0"), Ok(payload("1.0.0")));
    assert_eq!(machine.client.files(), fleet.repository.files());
}

#[tokio::test]
async fn what_a_client_kept_is_a_mirror_for_the_next() {
    let mut fleet = Fleet::new();
    fleet.release("1.0.0");
    fleet.publish().unwrap();
    let mut branch = Machine::pinned(&fleet.repository, fleet.now);
    let mut terminal = Machine::pinned(&fleet.repository, fleet.now);
    branch.update(&Mirror::of(&fleet.repository)).await.unwrap();
    let passed_on = Mirror { files: branch.client.files(), ..Mirror::default() };
    assert_eq!(passed_on.files, fleet.repository.files());
    terminal.update(&passed_on).await.unwrap();
    assert_eq!(known(&terminal, "1.0.0"), Ok(payload("1.0.0")));
}

#[tokio::test]
async fn a_machine_that_missed_two_root_rotations_walks_over_both() {
    let mut fleet = Fleet::new();
    let mut machine = Machine::pinned(&fleet.repository, fleet.now);
    for _ in 0..2 {
        let new: Vec<_> = (0..3).map(|_| key()).collect();
        let mut spec = fleet.repository.root_spec().unwrap();
        spec.root = set(&new, 2);
        fleet.rotate_root(&spec, &new).unwrap();
        fleet.root = new;
    }
    fleet.publish().unwrap();
    let mut complete = Mirror::of(&fleet.repository);
    machine.update(&complete).await.unwrap();
    assert_eq!(machine.client.trusted().unwrap().version(&RoleName::Root), Some(3));
    // From now on it starts from the newest one: the older ones need not be there any more.
    complete.files.remove("2.root.json");
    machine.restarted().update(&complete).await.unwrap();
}

#[tokio::test]
async fn many_missed_roots_are_walked_in_several_goes() {
    let mut fleet = Fleet::new();
    let mut machine = Machine::pinned(&fleet.repository, fleet.now);
    machine.limits.roots = 3;
    for _ in 0..5 {
        let spec = fleet.repository.root_spec().unwrap();
        fleet.rotate_root(&spec, &[]).unwrap();
    }
    fleet.publish().unwrap();
    let mirror = Mirror::of(&fleet.repository);
    assert_eq!(machine.update(&mirror).await, Err(Why::TooManyRoots));
    machine.update(&mirror).await.unwrap();
    assert_eq!(machine.client.trusted().unwrap().version(&RoleName::Root), Some(6));
}

#[tokio::test]
async fn a_newer_root_holds_even_if_the_rest_does_not_come() {
    let mut fleet = Fleet::new();
    let mut machine = Machine::pinned(&fleet.repository, fleet.now);
    machine.update(&Mirror::of(&fleet.repository)).await.unwrap();
    let old = Mirror::of(&fleet.repository);
    fleet.timestamp = vec![key()];
    let mut spec = fleet.repository.root_spec().unwrap();
    spec.timestamp = set(&fleet.timestamp, 1);
    fleet.rotate_root(&spec, &[]).unwrap();
    fleet.publish().unwrap();
    let failing = Mirror::of(&fleet.repository).with("timestamp.json", Trick::Fails);
    assert_eq!(machine.update(&failing).await, Err(Why::Unfetchable));
    // What was accepted stays in force, under the root of its time, over a restart too.
    let mut machine = machine.restarted();
    assert!(machine.client.trusted().is_some());
    // The stolen timestamp key is worth nothing any more, even for a mirror that hides the new root.
    assert_eq!(machine.update(&old).await, Err(Why::MetadataSignature));
    machine.update(&Mirror::of(&fleet.repository)).await.unwrap();
}

#[tokio::test]
async fn a_clock_that_stands_in_the_past_is_lifted_to_the_floor() {
    let mut fleet = Fleet::new();
    let mut machine = Machine::pinned(&fleet.repository, fleet.now);
    let old = Mirror::of(&fleet.repository);
    fleet.now += TimeDelta::days(30);
    fleet.publish().unwrap();
    machine.update(&Mirror::of(&fleet.repository)).await.unwrap();
    assert_eq!(machine.client.floor(), fleet.now);
    machine.clock = "1970-01-01T00:00:00Z".parse().unwrap();
    assert_eq!(machine.client.time(machine.clock), fleet.now);
    let mut machine = machine.restarted();
    machine.update(&Mirror::of(&fleet.repository)).await.unwrap();
    assert_eq!(machine.update(&old).await, Err(Why::MetadataRollback));
    // A floor that was raised too far is reset by a newer root.
    machine.client.raise_floor(fleet.now + TimeDelta::days(3650)).unwrap();
    assert_eq!(machine.update(&Mirror::of(&fleet.repository)).await, Err(Why::MetadataExpired));
    let spec = fleet.repository.root_spec().unwrap();
    fleet.rotate_root(&spec, &[]).unwrap();
    fleet.publish().unwrap();
    machine.update(&Mirror::of(&fleet.repository)).await.unwrap();
    assert!(machine.client.floor() < fleet.now + TimeDelta::days(1));
}

#[tokio::test]
async fn a_time_that_an_image_was_made_at_is_not_kept() {
    let fleet = Fleet::new();
    let mut machine = Machine::pinned(&fleet.repository, fleet.now);
    machine.clock = "1970-01-01T00:00:00Z".parse().unwrap();
    // By a year too late: a mistake in a configuration, which is corrected there.
    machine.client.judge_not_before(fleet.now + TimeDelta::days(365));
    assert_eq!(machine.client.time(machine.clock), fleet.now + TimeDelta::days(365));
    assert_eq!(machine.update(&Mirror::of(&fleet.repository)).await, Err(Why::MetadataExpired));
    let mut machine = machine.restarted();
    machine.client.judge_not_before(fleet.now);
    machine.update(&Mirror::of(&fleet.repository)).await.unwrap();
    assert_eq!(machine.client.floor(), fleet.now);
}

#[tokio::test]
async fn a_version_that_runs_ahead_of_the_clock_does_no_harm() {
    let mut fleet = Fleet::new();
    let now = fleet.now;
    // Head office's clock was once wrong, or a backup was restored: versions rise from there.
    fleet.now += TimeDelta::days(300);
    fleet.publish().unwrap();
    fleet.now = now;
    fleet.publish().unwrap();
    assert!(fleet.repository.version(&RoleName::Timestamp).unwrap() > u64::try_from(now.timestamp_millis()).unwrap());
    let mut machine = Machine::pinned(&fleet.repository, now);
    machine.update(&Mirror::of(&fleet.repository)).await.unwrap();
    assert_eq!(machine.client.floor(), now);
}

#[tokio::test]
async fn a_product_whose_role_expired_stops_no_other() {
    let mut fleet = Fleet::new();
    fleet.release("1.0.0");
    let soon = fleet.repository.propose(&RoleName::Derived, &[], fleet.now, fleet.now + TimeDelta::days(1)).unwrap();
    fleet.take(soon).unwrap();
    fleet.now += TimeDelta::days(2);
    fleet.publish().unwrap();
    let mut machine = Machine::pinned(&fleet.repository, fleet.now);
    machine.update(&Mirror::of(&fleet.repository)).await.unwrap();
    assert_eq!(known(&machine, "1.0.0"), Ok(payload("1.0.0")));
    assert!(machine.client.trusted().unwrap().version(&kiosk()).is_some());
}

#[tokio::test]
async fn a_store_is_begun_with_the_root_file_once_and_opened_afterwards() {
    let fleet = Fleet::new();
    let folder = tempfile::tempdir().unwrap();
    let (store, root) = (folder.path().join("trust.json"), folder.path().join("root.json"));
    let missing = Client::open_or_provision(&store, &root).unwrap_err();
    assert_eq!(missing.why(), Why::NoRootFile);
    assert!(missing.sentence().contains(&root.display().to_string()), "{missing}");
    service_kit::durable::write_file(&root, b"{}").unwrap();
    let refused = Client::open_or_provision(&store, &root).unwrap_err();
    assert_eq!(refused.why(), Why::MetadataForm);
    assert!(refused.sentence().contains(&root.display().to_string()) && !store.exists(), "{refused}");
    service_kit::durable::write_file(&root, fleet.repository.root_file()).unwrap();
    // As an editor of Windows saves it.
    let text = String::from_utf8(fleet.repository.root_file().to_vec()).unwrap();
    let windows = format!("\u{feff}{}\r\n", text.replace('\n', "\r\n"));
    service_kit::durable::write_file(&root, windows.as_bytes()).unwrap();
    Client::open_or_provision(&folder.path().join("windows.json"), &root).unwrap();
    service_kit::durable::write_file(&root, fleet.repository.root_file()).unwrap();
    let client = Client::open_or_provision(&store, &root).unwrap();
    assert_eq!((client.timestamp_version(), client.floor().timestamp()), (None, 0));
    std::fs::remove_file(&root).unwrap();
    Client::open_or_provision(&store, &root).unwrap();
    service_kit::durable::write_file(&store, b"").unwrap();
    assert_eq!(Client::open_or_provision(&store, &root).unwrap_err().why(), Why::StoreDamaged);
}

#[tokio::test]
async fn a_damaged_store_is_an_error_and_not_a_fresh_start() {
    let mut fleet = Fleet::new();
    let mut machine = Machine::pinned(&fleet.repository, fleet.now);
    fleet.release("1.0.0");
    fleet.publish().unwrap();
    machine.update(&Mirror::of(&fleet.repository)).await.unwrap();
    let path = machine.folder.path().join("trust.json");
    let good = std::fs::read(&path).unwrap();
    let open = |bytes: &[u8]| {
        service_kit::durable::write_file(&path, bytes).unwrap();
        Client::open(&path).map(|_| ()).map_err(|r| r.why())
    };
    assert_eq!(open(&good[..good.len() / 2]), Err(Why::StoreDamaged));
    assert_eq!(open(b""), Err(Why::StoreDamaged));
    let altered = String::from_utf8(good.clone()).unwrap().replace("4096", "4097");
    assert_eq!(open(altered.as_bytes()), Err(Why::StoreDamaged));
    assert_eq!(open(&good), Ok(()));
    assert_eq!(Client::open(&machine.folder.path().join("absent")).unwrap_err().why(), Why::Storage);
    let again = Client::provision(&path, fleet.repository.root_file(), fleet.now).unwrap_err();
    assert_eq!(again.why(), Why::Storage);
}

#[tokio::test]
async fn a_file_that_says_more_than_is_signed_is_refused() {
    let fleet = Fleet::new();
    let mut machine = Machine::pinned(&fleet.repository, fleet.now);
    for (old, new) in [(r#""_type":"timestamp""#, r#""_type":"snapshot""#), (r#""keyid":"#, r#""note":1,"keyid":"#)] {
        let mut mirror = Mirror::of(&fleet.repository);
        let text = String::from_utf8(mirror.files["timestamp.json"].clone()).unwrap();
        assert!(text.contains(old));
        mirror.files.insert("timestamp.json".into(), text.replace(old, new).into_bytes());
        assert_eq!(machine.update(&mirror).await, Err(Why::MetadataForm), "{new}");
    }
    machine.update(&Mirror::of(&fleet.repository)).await.unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_flipped_byte_in_any_file_is_refused_or_changes_nothing(file: prop::sample::Index, at: prop::sample::Index, mask in 1u8..) {
        let mut fleet = Fleet::new();
        fleet.release("1.0.0");
        fleet.publish().unwrap();
        let mut machine = Machine::pinned(&fleet.repository, fleet.now);
        let mut mirror = Mirror::of(&fleet.repository);
        let name = file.get(&mirror.files.keys().cloned().collect::<Vec<_>>()).clone();
        let bytes = mirror.files.get_mut(&name).unwrap();
        let at = at.index(bytes.len());
        bytes[at] ^= mask;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let refused = runtime.block_on(machine.update(&mirror)).is_err();
        // The first root is pinned and never fetched; a letter of a key's id may change its case and mean the same.
        let harmless = name == "1.root.json" || (name == "timestamp.json" && mask == 0x20);
        prop_assert!(refused || harmless, "{name}: byte {at}");
        prop_assert!(refused != (known(&machine, "1.0.0") == Ok(payload("1.0.0"))));
    }
}
