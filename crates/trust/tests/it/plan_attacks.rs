//! The attacks of the design on plans, each by name, against the library: what the victim says.

use chrono::TimeDelta;
use fleet_types::{Digest, Version};
use trust::client::authorise;
use trust::plans::{self, Claim, Expected, Floors, VerifiedPlan};
use trust::{SigningKey, Why};
use wire::v1::plan::{ArtifactRef, PayloadRef, Plan, Step};

use crate::attacks::victim;
use crate::fleet::{Fleet, artifact, key, payload};
use crate::mirror::Machine;

fn plan(fleet: &Fleet, serial: u64) -> Plan {
    let (release, artifact) = (payload("1.0.0"), artifact(&payload("1.0.0")));
    let step = Step {
        terminals: vec!["till-1".parse().unwrap()],
        product: release.product,
        version: release.version,
        manifest: release.manifest,
        payload: PayloadRef { name: release.payload, sha256: release.sha256, length: release.length },
        artifact: ArtifactRef {
            sha256: artifact.sha256,
            length: artifact.length,
            index_sha256: artifact.index_sha256,
            index_length: artifact.index_length,
            info_hash: artifact.info_hash,
        },
        downgrade: false,
    };
    let (issued, expires) = (fleet.now, fleet.now + TimeDelta::days(30));
    Plan {
        format: 1,
        branch: "north".parse().unwrap(),
        serial,
        issued,
        expires,
        steps: vec![step],
        packages: vec![],
        audit: None,
    }
}

fn receive(machine: &Machine, floors: &Floors, envelope: &[u8]) -> Result<VerifiedPlan, Why> {
    let keys = machine.client.trusted().unwrap().plan_keys().unwrap();
    let branch = "north".parse().unwrap();
    let now = machine.client.time(machine.clock);
    plans::verify(envelope, Expected { keys: &keys, branch: &branch, now, floors }).map_err(|r| r.why())
}

fn signed(plan: &Plan, key: &SigningKey) -> Vec<u8> {
    serde_json::to_vec(&plans::sign(plan, &[key]).unwrap()).unwrap()
}

#[tokio::test]
async fn wrong_branchs_plan() {
    let (fleet, machine) = victim().await;
    let mut other = plan(&fleet, 1);
    other.branch = "south".parse().unwrap();
    assert_eq!(receive(&machine, &Floors::default(), &signed(&other, &fleet.plan[0])), Err(Why::PlanWrongBranch));
    // A key that holds another role signs no plans.
    let by_another = signed(&plan(&fleet, 1), &fleet.derived[0]);
    assert_eq!(receive(&machine, &Floors::default(), &by_another), Err(Why::PlanUnknownKey));
    receive(&machine, &Floors::default(), &signed(&plan(&fleet, 1), &fleet.plan[0])).unwrap();
}

#[tokio::test]
async fn replayed_older_plan() {
    let (fleet, machine) = victim().await;
    let mut floors = Floors::default();
    let newer = receive(&machine, &floors, &signed(&plan(&fleet, 2), &fleet.plan[0])).unwrap();
    floors.raise(&newer, &machine.client.trusted().unwrap().plan_keys().unwrap());
    assert_eq!(receive(&machine, &floors, &signed(&plan(&fleet, 1), &fleet.plan[0])), Err(Why::PlanReplayed));
}

#[tokio::test]
async fn helper_asked_to_activate_an_unverified_slot() {
    let (fleet, machine) = victim().await;
    let trusted = machine.client.trusted().unwrap();
    let (north, me, kiosk) = ("north".parse().unwrap(), "till-1".parse().unwrap(), crate::fleet::product());
    let release = payload("1.0.0");
    let claim =
        Claim { terminal: &me, product: &kiosk, manifest: release.manifest, payload: release.sha256, installed: None };
    let good = signed(&plan(&fleet, 1), &fleet.plan[0]);
    let ask = |envelope: &[u8], claim, now| authorise(trusted, envelope, &north, claim, now).map_err(|r| r.why());
    assert_eq!(ask(&good, claim, fleet.now), Ok(release));
    // Other content of the slot, another terminal, an expired order, an order by a stranger.
    let other = Claim { payload: Digest::new([6; 32]), ..claim };
    assert_eq!(ask(&good, other, fleet.now), Err(Why::PlanOtherDigest));
    let elsewhere = "till-2".parse().unwrap();
    assert_eq!(ask(&good, Claim { terminal: &elsewhere, ..claim }, fleet.now), Err(Why::PlanNotForMe));
    assert_eq!(ask(&good, claim, fleet.now + TimeDelta::days(30)), Err(Why::PlanExpired));
    assert_eq!(ask(&signed(&plan(&fleet, 1), &key()), claim, fleet.now), Err(Why::PlanUnknownKey));
    // Ordered by head office's own key, and still not what the release keys signed.
    let mut forged = plan(&fleet, 1);
    forged.steps[0].payload.sha256 = Digest::new([6; 32]);
    assert_eq!(ask(&signed(&forged, &fleet.plan[0]), other, fleet.now), Err(Why::SubstitutedRelease));
}

#[tokio::test]
async fn substituted_release_in_a_plan() {
    let (fleet, machine) = victim().await;
    let trusted = machine.client.trusted().unwrap();
    let check = |change: &dyn Fn(&mut Step)| {
        let mut plan = plan(&fleet, 1);
        change(&mut plan.steps[0]);
        // Head office's own plan key signed it: the release keys still have the last word.
        let plan = receive(&machine, &Floors::default(), &signed(&plan, &fleet.plan[0])).unwrap();
        let step = &plan.plan().steps[0];
        trusted.check_step(step, fleet.now).and_then(|_| trusted.check_artifacts(step, fleet.now)).map_err(|r| r.why())
    };
    assert_eq!(check(&|_| ()), Ok(()));
    assert_eq!(check(&|s| s.payload.sha256 = Digest::new([6; 32])).unwrap_err(), Why::SubstitutedRelease);
    assert_eq!(check(&|s| s.payload.length += 1).unwrap_err(), Why::SubstitutedRelease);
    assert_eq!(check(&|s| s.manifest = Digest::new([6; 32])).unwrap_err(), Why::SubstitutedRelease);
    assert_eq!(check(&|s| s.artifact.index_sha256 = Digest::new([6; 32])).unwrap_err(), Why::SubstitutedRelease);
    assert_eq!(check(&|s| s.version = Version::new(1, 0, 1)).unwrap_err(), Why::NotSigned);
    assert_eq!(check(&|s| s.product = "till".parse().unwrap()).unwrap_err(), Why::NotSigned);
    assert_eq!(check(&|s| s.artifact.sha256 = Digest::new([6; 32])).unwrap_err(), Why::NotSigned);
}
