//! The repository: what its holders signed is in force, and nothing else ever is.

use crate::fleet::{Fleet, artifact, key, kiosk, payload, set};
use chrono::TimeDelta;
use fleet_types::Digest;
use proptest::prelude::*;
use trust::repository::{Change, Lifetimes, Online, Proposal, Repository, RoleName, store};
use trust::{SigningKey, Why};

#[test]
fn a_signed_release_is_there_and_a_withdrawn_one_is_not() {
    let mut fleet = Fleet::new();
    let first = fleet.release("1.0.0");
    let second = fleet.release("2.0.0");
    assert_eq!(fleet.repository.payloads().unwrap(), [first.clone(), second.clone()]);
    let derived = fleet.change(&RoleName::Derived, &[Change::Artifacts(vec![artifact(&first)])]).unwrap();
    fleet.take(derived).unwrap();
    assert_eq!(fleet.repository.artifacts().unwrap(), [artifact(&first)]);
    let away = fleet.change(&kiosk(), &[Change::Withdraw(first.version.clone())]).unwrap();
    assert_eq!(fleet.repository.difference(&away).unwrap().removed, [first.clone()].into());
    fleet.take(away).unwrap();
    let forget = fleet.change(&RoleName::Derived, &[Change::Forget(first.sha256)]).unwrap();
    fleet.take(forget).unwrap();
    fleet.publish().unwrap();
    assert_eq!(fleet.repository.payloads().unwrap(), [second]);
    assert!(fleet.repository.artifacts().unwrap().is_empty());
    let again = fleet.change(&kiosk(), &[Change::Withdraw(first.version)]).unwrap_err();
    assert_eq!(again.why(), Why::NotSigned);
}

#[test]
fn signatures_are_made_offline_one_by_one_and_merged() {
    let mut fleet = Fleet::new();
    let proposal = fleet.change(&kiosk(), &[Change::Release(vec![payload("1.0.0")])]).unwrap();
    let file = proposal.to_bytes().unwrap();
    let signed_by = |key: &SigningKey| {
        let mut copy = Proposal::parse(&file).unwrap();
        copy.sign(key).unwrap();
        Proposal::parse(&copy.to_bytes().unwrap()).unwrap()
    };
    let (mut first, second) = (signed_by(&fleet.kiosk[0]), signed_by(&fleet.kiosk[1]));
    let state = fleet.repository.signature_state(&first).unwrap();
    assert_eq!((state.signed_by.len(), state.missing), (1, 1));
    assert_eq!(fleet.repository.accept(&first).unwrap_err().why(), Why::ProposalThreshold);
    first.merge(&second).unwrap();
    // Signatures by other keys change nothing.
    first.sign(&key()).unwrap();
    let state = fleet.repository.signature_state(&first).unwrap();
    assert_eq!((state.signed_by.len(), state.strangers.len(), state.missing), (2, 1, 0));
    fleet.repository.accept(&first).unwrap();
    let view = fleet.repository.inspect().unwrap().roles.into_iter().find(|r| r.role == kiosk()).unwrap();
    assert_eq!(view.signed_by, state.signed_by);
    assert_eq!(fleet.repository.payloads().unwrap(), [payload("1.0.0")]);
    let mut stranger = fleet.change(&kiosk(), &[]).unwrap();
    stranger.sign(&key()).unwrap();
    assert_eq!(fleet.repository.accept(&stranger).unwrap_err().why(), Why::ProposalUnknownKey);
    assert_eq!(first.merge(&stranger).unwrap_err().why(), Why::ProposalMismatch);
}

#[test]
fn of_two_releases_signed_against_the_same_version_the_second_is_to_be_signed_again() {
    let mut fleet = Fleet::new();
    let one = fleet.change(&kiosk(), &[Change::Release(vec![payload("1.0.0")])]).unwrap();
    // An hour later, so that its version is the higher one: it would take the first release away again.
    fleet.now += TimeDelta::hours(1);
    let two = fleet.change(&kiosk(), &[Change::Release(vec![payload("2.0.0")])]).unwrap();
    fleet.take(one).unwrap();
    let refused = fleet.take(two).unwrap_err();
    assert_eq!(refused.why(), Why::SignAgain);
    assert!(refused.remedy().contains("sign again"), "{}", refused.remedy());
    fleet.release("2.0.0");
    assert_eq!(fleet.repository.payloads().unwrap().len(), 2);
}

#[test]
fn a_release_never_changes() {
    let mut fleet = Fleet::new();
    fleet.release("1.0.0");
    let mut other = payload("1.0.0");
    other.sha256 = Digest::new([9; 32]);
    let twice = fleet.change(&kiosk(), &[Change::Release(vec![other.clone()])]).unwrap_err();
    assert_eq!(twice.why(), Why::ProposalContent);
    // Also not through a file that was made otherwise.
    let renewal = fleet.change(&kiosk(), &[]).unwrap();
    let text = String::from_utf8(renewal.to_bytes().unwrap()).unwrap();
    let forged = text.replace(&payload("1.0.0").sha256.to_string(), &other.sha256.to_string());
    let refused = fleet.take(Proposal::parse(forged.as_bytes()).unwrap()).unwrap_err();
    assert_eq!(refused.why(), Why::ProposalContent);
}

#[test]
fn a_target_outside_the_roles_paths_is_refused() {
    let mut fleet = Fleet::new();
    let mut foreign = payload("1.0.0");
    foreign.product = "till".parse().unwrap();
    let refused = fleet.change(&kiosk(), &[Change::Release(vec![foreign])]).unwrap_err();
    assert_eq!(refused.why(), Why::OutOfPath);
    let refused = fleet.change(&RoleName::Plan, &[Change::Release(vec![payload("1.0.0")])]).unwrap_err();
    assert_eq!(refused.why(), Why::OutOfPath);
    // A file that was made otherwise: the holders signed it, and still it is refused.
    let good = fleet.change(&kiosk(), &[Change::Release(vec![payload("1.0.0")])]).unwrap();
    let text = String::from_utf8(good.to_bytes().unwrap()).unwrap();
    for path in ["releases/till/1.0.0/rootfs", "releases/kiosk/1.0.0/a/rootfs", "derived/kiosk/1.0.0", "rootfs"] {
        let forged = Proposal::parse(text.replace("releases/kiosk/1.0.0/rootfs", path).as_bytes()).unwrap();
        assert_eq!(fleet.take(forged).unwrap_err().why(), Why::OutOfPath, "{path}");
    }
    let wide = fleet.repository.propose_delegations(&fleet.delegations(), fleet.now).unwrap();
    let text = String::from_utf8(wide.to_bytes().unwrap()).unwrap().replace("releases/kiosk/*/*", "*");
    assert_eq!(fleet.take(Proposal::parse(text.as_bytes()).unwrap()).unwrap_err().why(), Why::OutOfPath);
}

#[test]
fn the_root_rotates_with_old_and_new_signatures_only() {
    let mut fleet = Fleet::new();
    let new: Vec<_> = (0..3).map(|_| key()).collect();
    let mut spec = fleet.repository.root_spec().unwrap();
    spec.root = set(&new, 2);
    let propose = |signers: &[&SigningKey]| {
        let mut next = fleet.repository.propose_root(&spec).unwrap();
        signers.iter().for_each(|k| next.sign(k).unwrap());
        next
    };
    let old = &fleet.root;
    for too_few in
        [&[&new[0], &new[1]][..], &[&old[0], &old[1]], &[&old[0], &new[0], &new[1]], &[&old[0], &old[1], &new[0]]]
    {
        let mut repository = fleet.repository.clone();
        assert_eq!(repository.accept(&propose(too_few)).unwrap_err().why(), Why::ProposalThreshold);
    }
    let enough = propose(&[&old[0], &old[2], &new[1], &new[2]]);
    fleet.repository.accept(&enough).unwrap();
    assert_eq!(fleet.repository.version(&RoleName::Root), Some(2));
    fleet.publish().unwrap();
    Repository::from_files(&fleet.repository.files()).unwrap();
}

#[test]
fn after_a_release_key_rotation_the_role_must_be_signed_again() {
    let mut fleet = Fleet::new();
    fleet.release("1.0.0");
    fleet.kiosk = vec![key(), key()];
    let delegations = fleet.repository.propose_delegations(&fleet.delegations(), fleet.now).unwrap();
    fleet.take(delegations).unwrap();
    assert_eq!(fleet.publish().unwrap_err().why(), Why::RoleUnsigned);
    let renewal = fleet.change(&kiosk(), &[]).unwrap();
    fleet.take(renewal).unwrap();
    fleet.publish().unwrap();
    assert_eq!(fleet.repository.payloads().unwrap(), [payload("1.0.0")]);
}

#[test]
fn versions_rise_with_the_clock_and_without_it() {
    let mut fleet = Fleet::new();
    let version = |f: &Fleet| f.repository.version(&RoleName::Timestamp).unwrap();
    let first = version(&fleet);
    assert_eq!(first, u64::try_from(fleet.now.timestamp_millis()).unwrap());
    fleet.publish().unwrap();
    assert_eq!(version(&fleet), first + 1);
    fleet.now += TimeDelta::hours(1);
    fleet.publish().unwrap();
    assert_eq!(version(&fleet), first + 3_600_000);
    fleet.now -= TimeDelta::hours(1);
    fleet.publish().unwrap();
    assert_eq!(version(&fleet), first + 3_600_001);
}

#[test]
fn only_the_holders_publish_and_only_what_did_not_expire() {
    let mut fleet = Fleet::new();
    let stranger = key();
    let wrong = Online { snapshot: &[&stranger], timestamp: &[&fleet.timestamp[0]] };
    let refused = fleet.repository.publish(wrong, fleet.now, Lifetimes::default()).unwrap_err();
    assert_eq!(refused.why(), Why::ProposalUnknownKey);
    fleet.now += TimeDelta::days(366);
    assert_eq!(fleet.publish().unwrap_err().why(), Why::MetadataExpired);
}

#[test]
fn a_folder_keeps_it_and_a_damaged_one_is_an_error() {
    let mut fleet = Fleet::new();
    let dir = tempfile::tempdir().unwrap();
    fleet.release("1.0.0");
    fleet.publish().unwrap();
    for _ in 0..3 {
        fleet.publish().unwrap();
        store::write(dir.path(), &fleet.repository).unwrap();
    }
    let read = store::read(dir.path()).unwrap();
    assert_eq!(read.files(), fleet.repository.files());
    assert_eq!(read.inspect().unwrap(), fleet.repository.inspect().unwrap());
    // The state before stays for clients that are half way through, the one before that does not.
    let snapshots = std::fs::read_dir(dir.path()).unwrap();
    let snapshots =
        snapshots.filter(|e| e.as_ref().unwrap().file_name().to_string_lossy().contains("snapshot")).count();
    assert_eq!(snapshots, 2);
    let name = kiosk().file(fleet.repository.version(&kiosk()).unwrap());
    let damaged = String::from_utf8(fleet.repository.files()[&name].clone()).unwrap().replace("4096", "4097");
    std::fs::File::create(dir.path().join(&name)).unwrap();
    assert_eq!(store::read(dir.path()).unwrap_err().why(), Why::MetadataDigest);
    service_kit::durable::write_file(&dir.path().join(&name), damaged.as_bytes()).unwrap();
    assert_eq!(store::read(dir.path()).unwrap_err().why(), Why::MetadataDigest);
}

#[test]
fn what_is_not_published_is_not_written() {
    let mut fleet = Fleet::new();
    let dir = tempfile::tempdir().unwrap();
    store::write(dir.path(), &fleet.repository).unwrap();
    fleet.release("1.0.0");
    assert_eq!(store::write(dir.path(), &fleet.repository).unwrap_err().why(), Why::RoleUnsigned);
    assert!(store::read(dir.path()).unwrap().payloads().unwrap().is_empty());
    fleet.publish().unwrap();
    store::write(dir.path(), &fleet.repository).unwrap();
    assert_eq!(store::read(dir.path()).unwrap().payloads().unwrap(), [payload("1.0.0")]);
}

#[test]
fn inspection_says_who_signed_what_until_when() {
    let fleet = Fleet::new();
    let inspection = fleet.repository.inspect().unwrap();
    let role = inspection.roles.iter().find(|r| r.role == kiosk()).unwrap();
    assert_eq!((role.threshold, role.holders.len(), role.signed_by.len()), (2, 2, 2));
    assert_eq!(role.expires, Some(fleet.now + TimeDelta::days(365)));
    let names: Vec<_> = inspection.roles.iter().map(|r| r.role.to_string()).collect();
    assert_eq!(names, ["root", "targets", "snapshot", "timestamp", "product-kiosk", "derived", "plan"]);
    assert!(serde_json::to_string(&inspection).unwrap().contains("product-kiosk"));
}

#[test]
fn a_product_that_goes_stays_listed_and_may_come_back() {
    let mut fleet = Fleet::new();
    let before = fleet.repository.version(&kiosk()).unwrap();
    let mut spec = fleet.delegations();
    let kiosks = spec.products.clone();
    spec.products.clear();
    let gone = fleet.repository.propose_delegations(&spec, fleet.now).unwrap();
    fleet.take(gone).unwrap();
    fleet.publish().unwrap();
    spec.products = kiosks;
    let back = fleet.repository.propose_delegations(&spec, fleet.now).unwrap();
    fleet.take(back).unwrap();
    let empty = fleet.change(&kiosk(), &[]).unwrap();
    assert!(empty.version() > before);
    fleet.take(empty).unwrap();
    fleet.publish().unwrap();
    Repository::from_files(&fleet.repository.files()).unwrap();
}

proptest! {
    #[test]
    fn a_flipped_byte_in_a_proposal_is_refused_or_changes_nothing(at: prop::sample::Index, mask in 1u8..) {
        let mut fleet = Fleet::new();
        let mut good = fleet.change(&kiosk(), &[Change::Release(vec![payload("1.0.0")])]).unwrap();
        fleet.kiosk.iter().for_each(|k| good.sign(k).unwrap());
        let mut bytes = good.to_bytes().unwrap();
        let at = at.index(bytes.len());
        bytes[at] ^= mask;
        // Blanks and the case of a digit may change; what would be signed may not.
        let accepted = Proposal::parse(&bytes).is_ok_and(|p| fleet.repository.accept(&p).is_ok());
        let same = Proposal::parse(&bytes).is_ok_and(|p| p.digest().unwrap() == good.digest().unwrap());
        prop_assert!(!accepted || same);
    }
}

#[test]
fn a_false_signature_in_a_holders_name_does_not_stand_in_the_way_of_the_holders_own() {
    let mut fleet = Fleet::new();
    let proposal = fleet.change(&kiosk(), &[Change::Release(vec![payload("1.0.0")])]).unwrap();
    let mut kept = proposal.clone();
    kept.sign(&fleet.kiosk[0]).unwrap();
    // A stranger sends a signature of something else under the id of the second holder.
    let mut other = fleet.change(&kiosk(), &[]).unwrap();
    other.sign(&fleet.kiosk[1]).unwrap();
    let read = |p: &Proposal| serde_json::from_slice::<serde_json::Value>(&p.to_bytes().unwrap()).unwrap();
    let mut forged = read(&proposal);
    forged["signatures"] = read(&other)["signatures"].clone();
    kept.merge(&Proposal::parse(forged.to_string().as_bytes()).unwrap()).unwrap();
    let state = fleet.repository.signature_state(&kept).unwrap();
    assert_eq!((state.signed_by.len(), state.strangers.len(), state.missing), (1, 1, 1));
    kept.keep_signatures_of(&state.signed_by);
    assert_eq!(kept.claimed_signers(), state.signed_by);
    let mut own = proposal;
    own.sign(&fleet.kiosk[1]).unwrap();
    kept.merge(&own).unwrap();
    assert!(fleet.repository.signature_state(&kept).unwrap().complete());
    fleet.repository.accept(&kept).unwrap();
}

#[test]
fn whoever_keeps_the_folder_notices_that_somebody_else_published() {
    let folder = tempfile::tempdir().unwrap();
    let mut fleet = Fleet::new();
    store::write(folder.path(), &fleet.repository).unwrap();
    let held = fleet.repository.clone();
    assert!(!store::has_moved_on(folder.path(), &held).unwrap());
    fleet.now += TimeDelta::seconds(1);
    fleet.publish().unwrap();
    {
        let _lock = store::lock(folder.path()).unwrap();
        store::write(folder.path(), &fleet.repository).unwrap();
    }
    assert!(store::has_moved_on(folder.path(), &held).unwrap());
    let _again = store::lock(folder.path()).unwrap();
    assert_eq!(store::read(folder.path()).unwrap().files(), fleet.repository.files(), "the lock is no metadata");
    assert_eq!(held.roles().unwrap().len(), 7);
    assert!(held.roles().unwrap().iter().all(|role| held.expires(role).is_some()));
}
