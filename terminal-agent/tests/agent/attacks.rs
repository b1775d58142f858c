//! The attacks of the design that a terminal meets, each by its name, from a branch server that is compromised with its disk
//! and its database, or from an attacker who holds head office's online keys. The terminal says why, and goes on with what it runs.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::support::package::tools;
use crate::support::release::{v1, v2};
use crate::support::world::Inner;
use crate::support::{Cut, Rig, TestRelease};
use bootslot::BootState;
use chrono::TimeDelta;
use fleet_types::Slot;
use test_kit::attacker::evil_target;
use trust::SigningKey;
use wire::v1::plan::Plan;
use wire::v1::reports::Report;
use wire::{Envelope, PLAN_PAYLOAD_TYPE};

/// A terminal that runs what plan 100 orders.
pub fn victim() -> Rig {
    let mut rig = Rig::new(&v1(), &v1());
    rig.turns(5);
    assert_eq!((rig.state(), rig.journal().floor), ("confirmed", 100));
    rig
}

/// The plan after 100, which orders 2.0.0.
fn next(world: &Inner) -> Plan {
    let mut step = v2().step();
    step.terminals = vec!["till-1".parse().unwrap()];
    Plan { serial: 101, steps: vec![step], ..world.plan.clone().unwrap() }
}

/// The branch server turns hostile; what the terminal says. It begins nothing.
pub fn attack(rig: &mut Rig, edit: impl FnOnce(&mut Inner)) -> String {
    edit(&mut rig.world.lock());
    rig.world.advance(Duration::from_secs(60));
    rig.turns(10);
    assert_eq!((rig.state(), rig.journal().floor), ("confirmed", 100), "{:?}", rig.journal().waiting);
    assert!(rig.world.lock().torrents.is_empty() && rig.world.writes() == 0);
    rig.journal().waiting.map(|reason| reason.code.to_string()).unwrap_or_default()
}

fn assert_explains(rig: &Rig, words: &str) {
    let said = rig.journal().waiting.unwrap().text;
    assert!(said.contains(words), "{said}");
}

/// An honest branch server with a new release is followed at once.
pub fn recovers(mut rig: Rig) {
    {
        let mut world = rig.world.lock();
        (world.forged, world.mirror) = (None, None);
    }
    rig.world.offer(&v2());
    rig.until("confirmed");
    rig.assert_confirmed(&v2(), Slot::B);
}

/// Signs releases, artifacts and metadata, and serves the plan of `edit` signed by the genuine plan key.
pub fn ordered(world: &mut Inner, edit: impl FnOnce(&mut Plan)) {
    let (mut plan, now) = (next(world), world.now);
    world.fleet.order(&plan, now).unwrap();
    edit(&mut plan);
    world.forged = Some(world.fleet.seal(&plan).unwrap());
}

#[test]
fn wrong_branchs_plan() {
    let mut rig = victim();
    let said = attack(&mut rig, |w| ordered(w, |plan| plan.branch = "south".parse().unwrap()));
    assert_eq!(said, "plan-wrong-branch");
    recovers(rig);
}

#[test]
fn replayed_older_plan() {
    let mut rig = victim();
    let older = |w: &mut Inner| ordered(w, |plan| plan.serial = 99);
    assert_eq!(attack(&mut rig, older), "plan-replayed");
    assert_eq!(
        attack(&mut rig, |w| ordered(w, |plan| plan.serial = 100)),
        "plan-replayed",
        "another one of its serial"
    );
    // The floors are on the disk, whatever becomes of the journal.
    rig.cut(Cut::Power);
    std::fs::remove_file(rig.settings.paths.journal()).unwrap();
    rig.turns(1);
    assert_eq!(attack(&mut rig, older), "plan-replayed");
    recovers(rig);
}

#[test]
fn substituted_release_in_a_plan() {
    let mut rig = victim();
    let evil = TestRelease::with("2.0.0", "", "evil");
    let substitute = |w: &mut Inner| {
        w.releases.push(evil.clone());
        ordered(w, |plan| plan.steps = vec![evil.step()]);
    };
    assert_eq!(attack(&mut rig, substitute), "substituted-release");
    recovers(rig);
}

#[test]
fn arbitrary_software() {
    let mut rig = victim();
    let evil = TestRelease::new("6.6.6");
    // Every key of head office signs it, no release key does.
    let smuggle = |w: &mut Inner| {
        w.releases.push(evil.clone());
        let (plan, now) = (Plan { steps: vec![evil.step()], ..next(w) }, w.now);
        w.fleet.sign_artifact(&plan.steps[0], now).unwrap();
        w.fleet.publish(now).unwrap();
        w.forged = Some(w.fleet.seal(&plan).unwrap());
    };
    assert_eq!(attack(&mut rig, smuggle), "not-signed");
    recovers(rig);
}

#[test]
fn vulnerable_key() {
    let mut rig = victim();
    let unsigned = |w: &mut Inner| w.forged = Some(Envelope::unsigned(PLAN_PAYLOAD_TYPE, &next(w)).unwrap());
    assert_eq!(attack(&mut rig, unsigned), "plan-unknown-key");
    let stranger = SigningKey::generate().unwrap();
    let strangers = |w: &mut Inner| w.forged = Some(trust::plans::sign(&next(w), &[&stranger]).unwrap());
    assert_eq!(attack(&mut rig, strangers), "plan-unknown-key");
    let altered = |w: &mut Inner| {
        let signatures = w.fleet.seal(w.plan.as_ref().unwrap()).unwrap().signatures;
        w.forged = Some(Envelope { signatures, ..w.fleet.seal(&next(w)).unwrap() });
    };
    assert_eq!(attack(&mut rig, altered), "plan-bad-signature");
    recovers(rig);
}

#[test]
fn indefinite_freeze() {
    let mut rig = victim();
    let frozen = {
        let mut world = rig.world.lock();
        let now = world.now;
        world.fleet.publish_until(now, now + TimeDelta::hours(8)).unwrap();
        (world.fleet.files(), world.fleet.version())
    };
    rig.world.advance(Duration::from_secs(60));
    rig.turns(5);
    // From now on the branch server hides that there is anything newer.
    rig.world.lock().mirror = Some(frozen);
    rig.world.advance(Duration::from_secs(9 * 3600));
    rig.turns(5);
    assert_eq!(rig.journal().waiting.map(|r| r.code), Some("metadata-expired".into()));
    assert_eq!(attack(&mut rig, |w| ordered(w, |_| {})), "metadata-expired", "no new plan by it");
    recovers(rig);
}

#[test]
fn rollback() {
    let mut rig = victim();
    let old = {
        let world = rig.world.lock();
        (world.fleet.files(), world.fleet.version())
    };
    {
        let mut world = rig.world.lock();
        let now = world.now;
        world.fleet.publish(now).unwrap();
    }
    rig.world.advance(Duration::from_secs(60));
    rig.turns(5);
    let said = attack(&mut rig, |w| {
        ordered(w, |_| {});
        w.mirror = Some(old);
    });
    assert_eq!(said, "metadata-rollback");
    recovers(rig);
    // A genuine plan, signed again, that orders what is older than what runs.
    let older = TestRelease::new("0.9.0");
    let mut rig = Rig::new(&v1(), &older);
    rig.turns(10);
    assert_eq!(rig.journal().waiting.map(|r| r.code), Some("plan-downgrade".into()));
}

#[test]
fn mix_and_match() {
    let mut rig = victim();
    let said = attack(&mut rig, |w| {
        let role = |files: &BTreeMap<String, Vec<u8>>| {
            files.keys().rfind(|n| n.ends_with(".product-kiosk.json")).unwrap().clone()
        };
        let before = w.fleet.files();
        ordered(w, |_| {});
        let mut files = w.fleet.files();
        assert_ne!(role(&before), role(&files));
        files.insert(role(&files), before[&role(&before)].clone());
        w.mirror = Some((files, w.fleet.version()));
    });
    assert_eq!(said, "metadata-digest");
    recovers(rig);
}

#[test]
fn extraneous_dependency() {
    let mut rig = victim();
    let said = attack(&mut rig, |w| {
        ordered(w, |_| {});
        // The key of artifacts, which head office holds online, signs a release beside them.
        let mut intruder = w.fleet.intruder();
        let derived = std::slice::from_ref(&w.fleet.derived);
        intruder.forge("derived", derived, |signed| signed["targets"]["releases/kiosk/6.6.6/root"] = evil_target());
        w.mirror = Some((intruder.sealed(), w.fleet.version().map(|v| v + 1)));
    });
    assert_eq!(said, "out-of-path");
    assert_explains(&rig, "releases/kiosk/6.6.6/root");
    recovers(rig);
}

#[test]
fn fast_forward() {
    // Longer than a terminal's certificate lasts, and than its branch's.
    forwarded_by(TimeDelta::days(300));
    forwarded_by(TimeDelta::days(3_000));
}

fn forwarded_by(days: TimeDelta) {
    let mut rig = victim();
    // Stolen online keys raise versions and time; nothing that head office publishes is newer.
    let genuine = {
        let mut world = rig.world.lock();
        let (genuine, ahead) = (world.fleet.repository.clone(), world.now + days);
        world.fleet.publish(ahead).unwrap();
        genuine
    };
    rig.world.advance(Duration::from_secs(60));
    rig.turns(5);
    let said = attack(&mut rig, |w| {
        w.fleet.repository = genuine;
        ordered(w, |_| {});
    });
    assert_eq!(said, "metadata-rollback");
    // The root's holders name other online keys: versions and the time begin again.
    {
        let mut world = rig.world.lock();
        let now = world.now;
        world.fleet.rotate_online_keys(now).unwrap();
    }
    recovers(rig);
}

#[test]
fn endless_data() {
    let mut rig = victim();
    let said = attack(&mut rig, |w| {
        ordered(w, |_| {});
        let mut files = w.fleet.files();
        files.insert("timestamp.json".to_owned(), vec![b' '; 8 << 20]);
        w.mirror = Some((files, w.fleet.version()));
    });
    assert_eq!(said, "endless-data");
    assert_explains(&rig, "timestamp.json has more than");
    recovers(rig);
}

#[test]
fn forged_delta() {
    // There are no deltas yet: what would be forged in one is forged in an artifact. Head office's key of artifacts is stolen;
    // the release is genuine, and the artifact brings something else under its name.
    let mut image = v2().image;
    image[200_000] ^= 1;
    let forged = v2().forged(image);
    assert_eq!(forged.payload, v2().payload);
    let mut rig = victim();
    rig.world.offer(&forged);
    rig.until("failed");
    assert_eq!(rig.reason(), "read-back-mismatch");
    rig.assert_on_old_slot(Slot::A);
    assert!(!rig.seen().contains("activating"), "{:?}", rig.seen);
    assert_eq!(rig.boot_state(), BootState::settled(Slot::A), "the bootloader was never told");
}

#[test]
fn a_new_plan_key_after_a_theft_begins_its_serials_anew() {
    let mut rig = victim();
    rig.world.edit_plan(|plan| plan.serial = u64::MAX);
    rig.until_that("the thief's plan", |rig| rig.journal().floor == u64::MAX);
    let (stolen, plan) = {
        let mut world = rig.world.lock();
        let now = world.now;
        let stolen = world.fleet.rotate_plan_key(now).unwrap();
        world.plan.as_mut().unwrap().serial = 5;
        (stolen, world.plan.clone().unwrap())
    };
    rig.until_that("the new key's plan", |rig| rig.journal().floor == 5);
    rig.world.lock().forged = Some(trust::plans::sign(&Plan { serial: 6, ..plan }, &[&stolen]).unwrap());
    rig.until_that("the thief refused", |rig| rig.journal().waiting.is_some_and(|r| r.code == "plan-unknown-key"));
    assert_eq!(rig.journal().floor, 5);
    recovers(rig);
}

/// The activation of an update that is ready is refused with this code, told, and what runs goes on.
fn refused_at_the_switch(edit: impl FnOnce(&mut Rig), code: &str) {
    let mut rig = Rig::new(&v1(), &v2());
    rig.until("ready");
    edit(&mut rig);
    rig.until("failed");
    assert_eq!(rig.reason(), code);
    assert!(!rig.seen().contains("trying"));
    assert_eq!(rig.boot_state(), BootState::settled(Slot::A), "the bootloader was never told");
    rig.world.lock().branch_up = true;
    rig.until_that("it was told", |rig| {
        rig.world.lock().reports.iter().any(|n| {
            matches!(&n.report, Report::Update { update, .. } if update.reason.as_ref().is_some_and(|r| r.code == code))
        })
    });
    rig.assert_on_old_slot(Slot::A);
}

#[test]
fn a_release_that_is_withdrawn_at_the_last_moment_is_not_activated() {
    let withdraw = |rig: &mut Rig| {
        let envelope = rig.world.order();
        let mut world = rig.world.lock();
        let now = world.now;
        world.forged = Some(envelope);
        world.fleet.withdraw(&v2().step(), now).unwrap();
        world.fleet.publish(now).unwrap();
        drop(world);
        rig.world.advance(Duration::from_secs(60));
    };
    refused_at_the_switch(withdraw, "not-signed");
}

#[test]
fn an_order_that_expired_is_not_carried_out() {
    let expire = |rig: &mut Rig| {
        rig.world.lock().branch_up = false;
        rig.world.advance(Duration::from_secs(31 * 86_400));
    };
    refused_at_the_switch(expire, "plan-expired");
}

#[test]
fn what_head_office_did_not_order_is_not_activated_whatever_the_journal_says() {
    let forge = |rig: &mut Rig| {
        // The journal was edited: the manifest of the update in hand is another one than was ordered.
        let path = rig.settings.paths.journal();
        rig.cut(Cut::Process);
        let mut journal: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        let manifest = journal.pointer_mut("/state/update/manifest").expect("the update in hand");
        *manifest = "66".repeat(32).into();
        let file = std::fs::File::create(&path).unwrap();
        serde_json::to_writer(file, &journal).unwrap();
    };
    refused_at_the_switch(forge, "plan-other-digest");
}

#[test]
fn a_package_that_is_withdrawn_before_it_is_unpacked_is_not_put_into_its_place() {
    let release = tools("1.0.0");
    let mut rig = Rig::new(&v1(), &v1());
    rig.offer_packages(&[&release]);
    rig.world.lock().pieces_a_look = 0;
    rig.until_that("prepared", |rig| rig.package("1.0.0").is_some_and(|p| p.prepared));
    let envelope = rig.world.order();
    {
        let mut world = rig.world.lock();
        let now = world.now;
        world.forged = Some(envelope);
        world.fleet.withdraw(&crate::support::package::entry(&release), now).unwrap();
        world.fleet.publish(now).unwrap();
    }
    rig.world.advance(Duration::from_secs(60));
    rig.turns(2);
    rig.world.lock().pieces_a_look = 4;
    rig.until_that("trouble", |rig| rig.package("1.0.0").is_some_and(|p| p.trouble.is_some()));
    assert_eq!(rig.package("1.0.0").unwrap().trouble.unwrap().code, "not-signed");
    assert!(!rig.is_complete("1.0.0") && rig.files().is_empty(), "{:?}", rig.files());
    rig.world.lock().forged = None;
    rig.until_complete("1.0.0");
}
