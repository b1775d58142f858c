//! What is accepted and what is not, with real keys and metadata.

use std::sync::Arc;

use chrono::TimeDelta;
use test_kit::{TestFleet, TestMirror};
use trust::client::{Client, Limits};
use trust::plans::sign;
use wire::PLAN_PAYLOAD_TYPE;
use wire::v1::plan::{PayloadRef, Step};

use super::*;

fn now() -> DateTime<Utc> {
    "2030-01-10T12:00:00Z".parse().unwrap()
}

fn north() -> BranchName {
    "north".parse().unwrap()
}

fn step() -> Step {
    Step {
        terminals: vec!["till-1".parse().unwrap()],
        product: "till".parse().unwrap(),
        version: fleet_types::Version::new(2, 0, 0),
        manifest: [1; 32].into(),
        payload: PayloadRef { name: "root".into(), sha256: [2; 32].into(), length: 1 << 30 },
        artifact: ArtifactRef {
            sha256: [3; 32].into(),
            length: 1 << 28,
            index_sha256: [4; 32].into(),
            index_length: 200,
            info_hash: [5; 20].into(),
        },
        downgrade: false,
    }
}

fn plan(serial: u64) -> Plan {
    let (steps, packages) = (vec![step()], Vec::new());
    let (issued, expires) = (now(), now() + TimeDelta::days(30));
    Plan { format: 1, branch: north(), serial, issued, expires, steps, packages, audit: None }
}

/// A fleet that signed the release, and what a branch server believes of it.
struct Scene {
    fleet: TestFleet,
    trusted: Trusted,
    floors: Floors,
}

impl Scene {
    fn new() -> Self {
        let mut fleet = TestFleet::new(now()).unwrap();
        fleet.order(&plan(1), now()).unwrap();
        let trusted = believed(&fleet);
        Self { fleet, trusted, floors: Floors::default() }
    }

    fn judge(&self, offered: &Envelope, now: DateTime<Utc>) -> Result<Accepted, Refusal> {
        let branch = &north();
        judge(offered, Judge { branch, trusted: Some(&self.trusted), floors: &self.floors, now })
    }

    fn refused(&self, plan: &Plan) -> (&'static str, String) {
        let refusal = self.judge(&self.fleet.seal(plan).unwrap(), now()).unwrap_err();
        (refusal.code(), refusal.to_string())
    }

    fn take(&mut self, plan: &Plan) {
        self.floors = self.judge(&self.fleet.seal(plan).unwrap(), now()).unwrap().floors;
    }
}

fn believed(fleet: &TestFleet) -> Trusted {
    let dir = tempfile::tempdir().unwrap();
    let mut client = Client::provision(&dir.path().join("trust.json"), fleet.root_file(), now()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mirror = Arc::new(TestMirror(fleet.files()));
    runtime.block_on(client.update(mirror, Limits::default(), now())).unwrap();
    client.trusted().unwrap().clone()
}

#[test]
fn the_first_plan_and_a_newer_one_are_accepted() {
    let mut scene = Scene::new();
    let first = scene.judge(&scene.fleet.seal(&plan(7)).unwrap(), now()).unwrap();
    assert_eq!(first.plan.plan(), &plan(7));
    assert_eq!(first.floors.of(scene.fleet.plan.public().id()), Some(7));
    scene.take(&plan(7));
    scene.take(&plan(8));
}

#[test]
fn what_the_library_refuses_is_refused_with_its_code_and_remedy() {
    let mut scene = Scene::new();
    scene.take(&plan(7));
    let other = Plan { branch: "south".parse().unwrap(), ..plan(9) };
    assert!(
        matches!(&scene.refused(&other), ("plan-wrong-branch", text) if text.contains("branch south; this is branch north"))
    );
    assert_eq!(scene.refused(&plan(6)).0, "plan-replayed");
    assert_eq!(scene.refused(&Plan { steps: Vec::new(), ..plan(7) }).0, "plan-replayed");
    assert_eq!(
        scene.refused(&Plan { expires: now(), issued: now() - TimeDelta::days(1), ..plan(9) }).0,
        "plan-expired"
    );
    assert_eq!(scene.refused(&Plan { format: 2, ..plan(9) }).0, "plan-form");
    let unsigned = Envelope::unsigned(PLAN_PAYLOAD_TYPE, &plan(9)).unwrap();
    let refusal = scene.judge(&unsigned, now()).unwrap_err();
    assert_eq!(refusal.code(), "plan-unknown-key");
    assert!(refusal.to_string().ends_with(Why::PlanUnknownKey.remedy()), "{refusal}");
    let stranger = trust::SigningKey::generate().unwrap();
    assert_eq!(scene.judge(&sign(&plan(9), &[&stranger]).unwrap(), now()).unwrap_err().code(), "plan-unknown-key");
}

#[test]
fn each_entry_must_be_signed_as_the_plan_names_it() {
    let scene = Scene::new();
    let with = |edit: &dyn Fn(&mut Step)| {
        let mut plan = plan(9);
        plan.packages = vec![step()];
        edit(&mut plan.packages[0]);
        scene.refused(&plan).0
    };
    assert_eq!(with(&|s| s.product = "kiosk".parse().unwrap()), "not-signed");
    assert_eq!(with(&|s| s.version = fleet_types::Version::new(3, 0, 0)), "not-signed");
    assert_eq!(with(&|s| s.manifest = [9; 32].into()), "substituted-release");
    assert_eq!(with(&|s| s.artifact.sha256 = [9; 32].into()), "not-signed");
}

#[test]
fn without_metadata_nothing_is_accepted() {
    let scene = Scene::new();
    let offered = scene.fleet.seal(&plan(7)).unwrap();
    let judged = judge(&offered, Judge { branch: &north(), trusted: None, floors: &scene.floors, now: now() });
    assert_eq!(judged.unwrap_err().code(), "no-metadata");
}

#[test]
fn bounds_hold_and_contradictions_are_seen() {
    let scene = Scene::new();
    let with = |edit: &dyn Fn(&mut Plan)| {
        let mut plan = plan(9);
        edit(&mut plan);
        scene.refused(&plan).1
    };
    assert!(with(&|p| p.steps = vec![step(); MAX_STEPS + 1]).contains("1001 steps and packages"));
    assert!(with(&|p| p.packages = vec![step(); MAX_STEPS]).contains("1001 steps and packages"));
    assert!(with(&|p| p.steps[0].artifact.length = MAX_ARTIFACT + 1).contains("larger than"));
    assert!(with(&|p| p.steps[0].artifact.index_length = 1 << 27).contains("the index of artifact 03030303"));
    assert!(with(&|p| p.steps[0].payload.name = "a\u{7}".into()).contains("too long or has control characters"));
    let huge = |p: &mut Plan| {
        p.packages = vec![step()];
        p.packages[0].artifact.length = MAX_ARTIFACT + 1;
    };
    assert!(with(&huge).contains("larger than"), "packages have the same bounds");
    assert!(with(&|p| p.serial = u64::MAX).contains("serial is out of range"));
    let twice = with(&|p| {
        p.steps.push(step());
        p.steps[1].artifact.info_hash = [9; 20].into();
    });
    assert!(twice.contains("contradicts itself about artifact 03030303"));
}
