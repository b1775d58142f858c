//! The attacks of the design on metadata, each by name, against the library: what the victim says.

use std::time::Duration;

use crate::fleet::{Fleet, artifact, key, kiosk, set};
use crate::mirror::{Machine, Mirror, Trick};
use bytes::Bytes;
use chrono::TimeDelta;
use fleet_types::Version;
use serde_json::json;
use test_kit::attacker::{Attacker, canonical, evil_target, hash};
use trust::repository::{Change, Lifetimes, Online, RoleName};
use trust::{SigningKey, Why};

/// A fleet with release 1.0.0 and its artifact, and a machine that knows both.
pub async fn victim() -> (Fleet, Machine) {
    let mut fleet = Fleet::new();
    let first = fleet.release("1.0.0");
    let derived = fleet.change(&RoleName::Derived, &[Change::Artifacts(vec![artifact(&first)])]).unwrap();
    fleet.take(derived).unwrap();
    fleet.publish().unwrap();
    let mut machine = Machine::pinned(&fleet.repository, fleet.now);
    machine.update(&Mirror::of(&fleet.repository)).await.unwrap();
    (fleet, machine)
}

/// An attacker in head office's place, with all files and the online keys.
fn intruder(fleet: &Fleet) -> Attacker<'_> {
    Attacker { files: fleet.repository.files(), snapshot: &fleet.snapshot, timestamp: &fleet.timestamp }
}

/// The files that a victim of root 1 asks for; root 2 first, for it is not asked for again once it was verified.
fn root_first(mirror: &Mirror) -> Vec<String> {
    let rest = mirror.files.keys().filter(|n| !n.ends_with(".root.json")).cloned();
    std::iter::once("2.root.json".to_owned()).chain(rest).collect()
}

fn knows(machine: &Machine, version: &str) -> bool {
    let version: Version = version.parse().unwrap();
    machine.client.trusted().unwrap().payload(&crate::fleet::product(), &version, "rootfs").is_ok()
}

#[tokio::test]
async fn arbitrary_software() {
    let (fleet, mut machine) = victim().await;
    // A branch's mirror alters what is signed, without any key.
    let honest = Mirror::of(&fleet.repository);
    for (name, bytes) in &honest.files {
        if name.contains("root.json") {
            continue;
        }
        // One that asks for all files.
        let mut fresh = Machine::pinned(&fleet.repository, fleet.now);
        let mut altered = honest.clone();
        let text = String::from_utf8(bytes.clone()).unwrap().replace("2030", "2040").replace("2031", "2041");
        altered.files.insert(name.clone(), text.into_bytes());
        let why = fresh.update(&altered).await.unwrap_err();
        assert!([Why::MetadataSignature, Why::MetadataDigest].contains(&why), "{name}: {why}");
    }
    // Head office itself, with all its online keys, adds a release: the release keys are offline.
    for keys in [&fleet.derived, &fleet.plan, &fleet.snapshot] {
        let mut forged = intruder(&fleet);
        forged.forge("product-kiosk", keys, |s| s["targets"]["releases/kiosk/6.6.6/rootfs"] = evil_target());
        assert_eq!(machine.update(&forged.sealed().into()).await, Err(Why::MetadataSignature));
    }
    assert!(knows(&machine, "1.0.0") && !knows(&machine, "6.6.6"));
    // The same with the release keys is believed: the forgery above fails for its keys alone.
    let mut real = intruder(&fleet);
    real.forge("product-kiosk", &fleet.kiosk, |s| s["targets"]["releases/kiosk/6.6.6/rootfs"] = evil_target());
    machine.update(&real.sealed().into()).await.unwrap();
    assert!(knows(&machine, "6.6.6"));
}

#[tokio::test]
async fn endless_data() {
    let (mut fleet, _) = victim().await;
    // One that asks for all files.
    let mut machine = Machine::pinned(&fleet.repository, fleet.now);
    let spec = fleet.repository.root_spec().unwrap();
    fleet.rotate_root(&spec, &[]).unwrap();
    fleet.publish().unwrap();
    let honest = Mirror::of(&fleet.repository);
    for name in root_first(&honest) {
        let endless = honest.clone().with(&name, Trick::Endless(Bytes::from(vec![b' '; 8192])));
        assert_eq!(machine.update(&endless).await, Err(Why::EndlessData), "{name}");
    }
    // Longer than it was signed, though shorter than any bound.
    let snapshot = honest.files.keys().find(|n| n.contains("snapshot")).unwrap().clone();
    let mut longer = honest.clone();
    longer.files.get_mut(&snapshot).unwrap().extend_from_slice(b"    ");
    assert_eq!(machine.update(&longer).await, Err(Why::EndlessData));
    machine.update(&honest).await.unwrap();
}

#[tokio::test]
async fn extraneous_dependency() {
    // Roles that head office holds online sign something more, in the name of a product or on their own.
    for (role, path, expected) in [
        ("derived", "releases/kiosk/6.6.6/rootfs", Err(Why::OutOfPath)),
        ("derived", "derived/extra", Err(Why::OutOfPath)),
        // Within the role's paths, but not a release: it is ignored.
        ("plan", "plan/extra", Ok(())),
    ] {
        let (fleet, mut machine) = victim().await;
        let mut forged = intruder(&fleet);
        let keys = fleet.holders(&role.parse().unwrap());
        forged.forge(role, keys, |s| s["targets"][path] = evil_target());
        assert_eq!(machine.update(&forged.sealed().into()).await, expected, "{path}");
        assert!(knows(&machine, "1.0.0") && !knows(&machine, "6.6.6"), "{path}");
    }
    let (fleet, mut machine) = victim().await;
    // One product's release keys sign for another one.
    let mut forged = intruder(&fleet);
    forged.forge("product-kiosk", &fleet.kiosk, |s| s["targets"]["releases/till/6.6.6/rootfs"] = evil_target());
    assert_eq!(machine.update(&forged.sealed().into()).await, Err(Why::OutOfPath));
}

#[tokio::test]
async fn fast_forward() {
    let (mut fleet, mut machine) = victim().await;
    // Stolen online keys raise the versions by 300 days' worth.
    let ahead = fleet.now + TimeDelta::days(300);
    let mut stolen = fleet.repository.clone();
    let online = Online { snapshot: &[&fleet.snapshot[0]], timestamp: &[&fleet.timestamp[0]] };
    stolen.publish(online, ahead, Lifetimes::default()).unwrap();
    machine.update(&Mirror::of(&stolen)).await.unwrap();
    fleet.now += TimeDelta::days(1);
    machine.clock = fleet.now;
    fleet.publish().unwrap();
    assert_eq!(machine.update(&Mirror::of(&fleet.repository)).await, Err(Why::MetadataRollback));
    // A new root with new online keys recovers, versions and time floor alike.
    (fleet.snapshot, fleet.timestamp) = (vec![key()], vec![key()]);
    let mut spec = fleet.repository.root_spec().unwrap();
    (spec.snapshot, spec.timestamp) = (set(&fleet.snapshot, 1), set(&fleet.timestamp, 1));
    fleet.rotate_root(&spec, &[]).unwrap();
    fleet.publish().unwrap();
    let recovered = Mirror::of(&fleet.repository);
    machine.update(&recovered).await.unwrap();
    assert!(machine.client.floor() < ahead);
    // From then on the check of versions works as before.
    fleet.publish().unwrap();
    machine.update(&Mirror::of(&fleet.repository)).await.unwrap();
    assert_eq!(machine.update(&recovered).await, Err(Why::MetadataRollback));
}

#[tokio::test]
async fn indefinite_freeze() {
    let (mut fleet, mut machine) = victim().await;
    let frozen = Mirror::of(&fleet.repository);
    machine.clock = fleet.now + TimeDelta::days(7) - TimeDelta::seconds(1);
    machine.update(&frozen).await.unwrap();
    machine.clock = fleet.now + TimeDelta::days(7);
    assert_eq!(machine.update(&frozen).await, Err(Why::MetadataExpired));
    // Setting its clock back does not help the attacker beyond the newest time that was verified.
    fleet.now += TimeDelta::days(8);
    machine.client.raise_floor(fleet.now).unwrap();
    machine.clock = fleet.now - TimeDelta::days(8);
    assert_eq!(machine.restarted().update(&frozen).await, Err(Why::MetadataExpired));
}

#[tokio::test]
async fn mix_and_match() {
    let (mut fleet, mut machine) = victim().await;
    let old = Mirror::of(&fleet.repository);
    fleet.release("2.0.0");
    fleet.publish().unwrap();
    let new = Mirror::of(&fleet.repository);
    let name = |m: &Mirror, role: &str| m.files.keys().find(|n| n.contains(role)).unwrap().clone();
    for role in ["snapshot", "product-kiosk"] {
        let mut mixed = new.clone();
        mixed.files.insert(name(&new, role), old.files[&name(&old, role)].clone());
        let why = machine.update(&mixed).await.unwrap_err();
        assert!([Why::MetadataDigest, Why::EndlessData, Why::MetadataMixed].contains(&why), "{role}: {why}");
        assert!(!knows(&machine, "2.0.0"));
    }
    // With stolen online keys: a snapshot that lists the old file as the new version.
    let mut forged = intruder(&fleet);
    forged.files.insert(name(&new, "product-kiosk"), old.files[&name(&old, "product-kiosk")].clone());
    assert_eq!(machine.update(&forged.sealed().into()).await, Err(Why::MetadataMixed));
    machine.update(&new).await.unwrap();
    assert!(knows(&machine, "2.0.0"));
}

#[tokio::test]
async fn rollback() {
    let (mut fleet, mut machine) = victim().await;
    let old = Mirror::of(&fleet.repository);
    let withdrawn = fleet.change(&kiosk(), &[Change::Withdraw(Version::new(1, 0, 0))]).unwrap();
    fleet.take(withdrawn).unwrap();
    fleet.publish().unwrap();
    machine.update(&Mirror::of(&fleet.repository)).await.unwrap();
    // All of the old state, and after a restart too.
    assert_eq!(machine.update(&old).await, Err(Why::MetadataRollback));
    let mut machine = machine.restarted();
    assert_eq!(machine.update(&old).await, Err(Why::MetadataRollback));
    // With stolen online keys: a new snapshot that lists the old version of the product's role, or none of it.
    let listed = fleet.repository.files().keys().find(|n| n.contains("product-kiosk")).unwrap().clone();
    for put_back in [true, false] {
        let mut forged = intruder(&fleet);
        forged.files.remove(&listed);
        if put_back {
            let (name, bytes) = old.files.iter().find(|(n, _)| n.contains("product-kiosk")).unwrap();
            forged.files.insert(name.clone(), bytes.clone());
        }
        assert_eq!(machine.update(&forged.sealed().into()).await, Err(Why::MetadataRollback));
    }
    assert!(!knows(&machine, "1.0.0"));
    // An older root under the next one's name.
    let mut older = Mirror::of(&fleet.repository);
    older.files.insert("2.root.json".into(), fleet.repository.root_file().to_vec());
    assert_eq!(machine.update(&older).await, Err(Why::MetadataRollback));
}

#[tokio::test]
async fn slow_retrieval() {
    let (mut fleet, _) = victim().await;
    // One that asks for all files.
    let mut machine = Machine::pinned(&fleet.repository, fleet.now);
    let spec = fleet.repository.root_spec().unwrap();
    fleet.rotate_root(&spec, &[]).unwrap();
    fleet.publish().unwrap();
    let honest = Mirror::of(&fleet.repository);
    // Files in memory come at once: only those that never come are waited for.
    machine.limits.deadline = Duration::from_millis(20);
    for name in root_first(&honest) {
        for trick in [Trick::Stalls, Trick::Silent] {
            let slow = honest.clone().with(&name, trick);
            let refused = machine.try_update(&slow).await.map_err(|r| (r.why(), r.sentence().contains(name.as_str())));
            assert_eq!(refused, Err((Why::SlowRetrieval, true)), "{name}");
        }
    }
    machine.update(&honest).await.unwrap();
}

#[tokio::test]
async fn vulnerable_key() {
    let (fleet, mut machine) = victim().await;
    // One stolen release key of two, with all online keys, is not enough; nor is it twice.
    let mut forged = intruder(&fleet);
    forged.forge("product-kiosk", &fleet.kiosk[..1], |s| s["targets"]["releases/kiosk/6.6.6/rootfs"] = evil_target());
    assert_eq!(machine.update(&forged.sealed().into()).await, Err(Why::MetadataSignature));
    let mut forged = intruder(&fleet);
    let twice = [&fleet.kiosk[0], &fleet.kiosk[0]].map(|k| SigningKey::from_pem(&k.to_pem().unwrap()).unwrap());
    forged.forge("product-kiosk", &twice, |s| s["targets"]["releases/kiosk/6.6.6/rootfs"] = evil_target());
    assert_eq!(machine.update(&forged.sealed().into()).await, Err(Why::MetadataSignature));
    // One key under two ids, which tough alone would count as two: an unknown member makes another id.
    let mut forged = intruder(&fleet);
    let one = fleet.kiosk[0].public();
    let disguised = json!({"keytype": "ed25519", "scheme": "ed25519", "keyval": {"public": one}, "note": "spare"});
    let id = hash(&canonical(&disguised));
    forged.forge("targets", &fleet.targets, |s| {
        s["delegations"]["keys"][&id] = disguised;
        let roles = s["delegations"]["roles"].as_array_mut().unwrap();
        let kiosk = roles.iter_mut().find(|r| r["name"] == "product-kiosk").unwrap();
        // Two different keys are left, as many as must sign: counting keys is not enough.
        kiosk["keyids"] = json!([one.id(), id, fleet.kiosk[1].public().id()]);
    });
    forged.forge("product-kiosk", &fleet.kiosk[..1], |s| s["targets"]["releases/kiosk/6.6.6/rootfs"] = evil_target());
    let (name, signed) = forged.find("product-kiosk");
    let mut file: serde_json::Value = serde_json::from_slice(&forged.files[&name]).unwrap();
    let sig = hex::encode(fleet.kiosk[0].sign(&canonical(&signed)));
    file["signatures"].as_array_mut().unwrap().push(json!({"keyid": id, "sig": sig}));
    forged.files.insert(name, serde_json::to_vec(&file).unwrap());
    assert_eq!(machine.update(&forged.sealed().into()).await, Err(Why::VulnerableKey));
    assert!(!knows(&machine, "6.6.6"));
}

#[tokio::test]
async fn vulnerable_key_in_a_root_on_the_way() {
    let (fleet, mut machine) = victim().await;
    let one = &fleet.root[0];
    let disguised =
        json!({"keytype": "ed25519", "scheme": "ed25519", "keyval": {"public": one.public()}, "note": "spare"});
    let id = hash(&canonical(&disguised));
    // The holders were talked into a second root with a "spare" key, which is the first one again.
    let mut forged = intruder(&fleet);
    let rest: Vec<_> = fleet.repository.root_spec().unwrap().root.keys().map(|k| k.id().to_string()).collect();
    forged.forge("root", &fleet.root, |s| {
        s["keys"][&id] = disguised.clone();
        s["roles"]["root"]["keyids"] = json!([one.public().id(), id, fleet.root[1].public().id()]);
    });
    let twice = |forged: &mut Attacker<'_>| {
        let (name, signed) = forged.find("root");
        let mut file: serde_json::Value = serde_json::from_slice(&forged.files[&name]).unwrap();
        let sig = hex::encode(one.sign(&canonical(&signed)));
        file["signatures"].as_array_mut().unwrap().push(json!({"keyid": id, "sig": sig}));
        forged.files.insert(name, serde_json::to_vec(&file).unwrap());
    };
    twice(&mut forged);
    let second = forged.files["2.root.json"].clone();
    // Its one thief makes a third root that looks as it should.
    forged.forge("root", &fleet.root[..1], |s| s["roles"]["root"]["keyids"] = json!(rest));
    twice(&mut forged);
    forged.files.insert("2.root.json".into(), second);
    assert_eq!(machine.update(&forged.sealed().into()).await, Err(Why::VulnerableKey));
    assert_eq!(machine.restarted().client.trusted().unwrap().version(&RoleName::Root), Some(1));
}
