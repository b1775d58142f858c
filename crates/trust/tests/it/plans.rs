//! Plans: what is signed is accepted once and in order, everything else is refused with its own code.

use chrono::{DateTime, TimeDelta, Utc};
use fleet_types::{Digest, InfoHash, Version};
use proptest::prelude::*;
use trust::plans::{self, Claim, Expected, Floors};
use trust::{KeySet, SigningKey, Why};
use wire::v1::plan::{ArtifactRef, PayloadRef, Plan, Step};
use wire::{Envelope, PLAN_PAYLOAD_TYPE};

fn at(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

fn now() -> DateTime<Utc> {
    at("2030-01-02T00:00:00Z")
}

fn step(terminal: &str, payload: u8) -> Step {
    Step {
        terminals: vec![terminal.parse().unwrap()],
        product: "kiosk".parse().unwrap(),
        version: Version::new(2, 0, 0),
        manifest: Digest::new([1; 32]),
        payload: PayloadRef { name: "rootfs".into(), sha256: Digest::new([payload; 32]), length: 7 },
        artifact: ArtifactRef {
            sha256: Digest::new([3; 32]),
            length: 5,
            index_sha256: Digest::new([4; 32]),
            index_length: 2,
            info_hash: InfoHash::new([5; 20]),
        },
        downgrade: false,
    }
}

fn plan(serial: u64) -> Plan {
    Plan {
        format: 1,
        branch: "north".parse().unwrap(),
        serial,
        issued: at("2030-01-01T00:00:00Z"),
        expires: at("2030-01-31T00:00:00Z"),
        steps: vec![step("till-1", 2)],
        packages: Vec::new(),
        audit: None,
    }
}

fn bytes(plan: &Plan, keys: &[&SigningKey]) -> Vec<u8> {
    serde_json::to_vec(&plans::sign(plan, keys).unwrap()).unwrap()
}

fn check(envelope: &[u8], keys: &KeySet, floors: &Floors) -> Result<plans::VerifiedPlan, Why> {
    let branch = "north".parse().unwrap();
    plans::verify(envelope, Expected { keys, branch: &branch, now: now(), floors }).map_err(|r| r.why())
}

#[test]
fn a_plan_of_a_known_key_is_accepted_and_raises_its_floor() {
    let key = SigningKey::generate().unwrap();
    let keys = KeySet::one(key.public());
    let mut floors = Floors::default();
    let accepted = check(&bytes(&plan(7), &[&key]), &keys, &floors).unwrap();
    assert_eq!(accepted.plan(), &plan(7));
    floors.raise(&accepted, &keys);
    assert_eq!(floors.of(key.public().id()), Some(7));
    // The very same plan may come again; an older one, or another one of the same serial, may not.
    check(&bytes(&plan(7), &[&key]), &keys, &floors).unwrap();
    assert_eq!(check(&bytes(&plan(6), &[&key]), &keys, &floors), Err(Why::PlanReplayed));
    let mut other = plan(7);
    other.steps.clear();
    assert_eq!(check(&bytes(&other, &[&key]), &keys, &floors), Err(Why::PlanReplayed));
    // What is kept between restarts says the same.
    let kept: Floors = serde_json::from_str(&serde_json::to_string(&floors).unwrap()).unwrap();
    assert_eq!(kept, floors);
}

#[test]
fn a_rotation_of_a_stolen_key_resets_its_floor() {
    let (stolen, fresh) = (SigningKey::generate().unwrap(), SigningKey::generate().unwrap());
    let old = KeySet::one(stolen.public());
    let mut floors = Floors::default();
    floors.raise(&check(&bytes(&plan(u64::MAX), &[&stolen]), &old, &floors).unwrap(), &old);
    let new = KeySet::one(fresh.public());
    let accepted = check(&bytes(&plan(8), &[&fresh]), &new, &floors).unwrap();
    floors.raise(&accepted, &new);
    assert_eq!(floors.of(stolen.public().id()), None);
    assert_eq!(check(&bytes(&plan(u64::MAX), &[&stolen]), &new, &floors), Err(Why::PlanUnknownKey));
}

#[test]
fn too_few_unknown_and_repeated_signatures_are_refused() {
    let [a, b, stranger] = std::array::from_fn(|_| SigningKey::generate().unwrap());
    let keys = KeySet::new(&[a.public(), b.public()], 2).unwrap();
    let floors = Floors::default();
    check(&bytes(&plan(1), &[&a, &b]), &keys, &floors).unwrap();
    check(&bytes(&plan(1), &[&stranger, &a, &b]), &keys, &floors).unwrap();
    assert_eq!(check(&bytes(&plan(1), &[&a]), &keys, &floors), Err(Why::PlanThreshold));
    assert_eq!(check(&bytes(&plan(1), &[&a, &a]), &keys, &floors), Err(Why::PlanThreshold));
    assert_eq!(check(&bytes(&plan(1), &[&a, &stranger]), &keys, &floors), Err(Why::PlanThreshold));
    assert_eq!(check(&bytes(&plan(1), &[&stranger]), &keys, &floors), Err(Why::PlanUnknownKey));
    // One signature under both names does not count twice.
    let mut envelope = plans::sign(&plan(1), &[&a, &a]).unwrap();
    envelope.signatures[1].keyid = b.public().id().to_string();
    let forged = serde_json::to_vec(&envelope).unwrap();
    assert_eq!(check(&forged, &keys, &floors), Err(Why::PlanBadSignature));
    let unsigned = serde_json::to_vec(&Envelope::unsigned(PLAN_PAYLOAD_TYPE, &plan(1)).unwrap()).unwrap();
    assert_eq!(check(&unsigned, &keys, &floors), Err(Why::PlanUnknownKey));
}

#[test]
fn branch_and_times_are_checked() {
    let key = SigningKey::generate().unwrap();
    let (keys, floors) = (KeySet::one(key.public()), Floors::default());
    let refused = |change: &dyn Fn(&mut Plan)| {
        let mut plan = plan(1);
        change(&mut plan);
        check(&bytes(&plan, &[&key]), &keys, &floors).unwrap_err()
    };
    assert_eq!(refused(&|p| p.branch = "south".parse().unwrap()), Why::PlanWrongBranch);
    assert_eq!(refused(&|p| p.expires = now()), Why::PlanExpired);
    assert_eq!(refused(&|p| p.issued = now() + TimeDelta::minutes(11)), Why::PlanFromTheFuture);
    assert_eq!(refused(&|p| p.expires = p.issued), Why::PlanContradiction);
    assert_eq!(refused(&|p| p.format = 2), Why::PlanForm);
    let mut early = plan(1);
    early.issued = now() + TimeDelta::minutes(9);
    check(&bytes(&early, &[&key]), &keys, &floors).unwrap();
    assert_eq!(check(&vec![b' '; 6 << 20], &keys, &floors), Err(Why::PlanForm));
}

#[test]
fn a_terminal_checks_its_own_name_digests_and_the_downgrade() {
    let key = SigningKey::generate().unwrap();
    let accept = |plan: &Plan| check(&bytes(plan, &[&key]), &KeySet::one(key.public()), &Floors::default()).unwrap();
    let (me, other, kiosk) = ("till-1".parse().unwrap(), "till-2".parse().unwrap(), "kiosk".parse().unwrap());
    let (older, newer) = (Version::new(1, 9, 0), Version::new(2, 0, 1));
    let claim = Claim {
        terminal: &me,
        product: &kiosk,
        manifest: Digest::new([1; 32]),
        payload: Digest::new([2; 32]),
        installed: Some(&older),
    };
    let verified = accept(&plan(1));
    let why = |claim| plans::check_claim(&verified, claim).map(|s| s.version.clone()).map_err(|r| r.why());
    assert_eq!(why(claim), Ok(Version::new(2, 0, 0)));
    assert_eq!(why(Claim { terminal: &other, ..claim }), Err(Why::PlanNotForMe));
    assert_eq!(why(Claim { payload: Digest::new([9; 32]), ..claim }), Err(Why::PlanOtherDigest));
    assert_eq!(why(Claim { manifest: Digest::new([9; 32]), ..claim }), Err(Why::PlanOtherDigest));
    assert_eq!(why(Claim { installed: Some(&newer), ..claim }), Err(Why::PlanDowngrade));
    let mut allowed = plan(1);
    allowed.steps[0].downgrade = true;
    plans::check_claim(&accept(&allowed), Claim { installed: Some(&newer), ..claim }).unwrap();
}

proptest! {
    #[test]
    fn any_flipped_byte_is_refused(position: prop::sample::Index, mask in 1u8..) {
        let key = SigningKey::generate().unwrap();
        let mut envelope = bytes(&plan(7), &[&key]);
        let at = position.index(envelope.len());
        envelope[at] ^= mask;
        prop_assert!(check(&envelope, &KeySet::one(key.public()), &Floors::default()).is_err());
    }

    #[test]
    fn no_bytes_of_a_stranger_get_through(noise: Vec<u8>) {
        let key = SigningKey::generate().unwrap();
        prop_assert!(check(&noise, &KeySet::one(key.public()), &Floors::default()).is_err());
    }
}
