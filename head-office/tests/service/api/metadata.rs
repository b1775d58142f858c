//! The signed metadata at the machines' listener, and plans that only present keys sign.

use chrono::TimeDelta;
use reqwest::Method;
use serde_json::json;
use service_kit::Clock as _;
use service_kit::database::connection;
use service_kit::server::Role;
use test_kit::wait_for;
use trust::plans::{Expected, Floors, verify};
use trust::repository::{RoleName, store};
use wire::v1::fleet::PlanIssued;
use wire::v1::paths;
use wire::v1::plan::Plan;
use wire::v1::status::Status;
use wire::v1::sync::Sync;
use wire::{Code, ReasonCode};

use crate::api::refusal;
use crate::support::trust::Machine;
use crate::support::{Branch, Office, PATIENCE, begin, published, status_of};

async fn assigned() -> (Office, Branch) {
    let office = Office::start().await;
    published(&office, "kiosk", "2.0.0", "k1").await;
    let branch = office.branch("north", "k1", &["till-1"]).await;
    let body = json!({ "branch": "north", "product": "kiosk", "version": "2.0.0" });
    office.admin().post::<_, PlanIssued>("/v1/assignments", &body).await.unwrap();
    (office, branch)
}

fn machine(office: &Office, branch: &Branch) -> Machine {
    Machine::new(&office.trust(), office.as_branch(branch))
}

/// The plan as this machine takes it.
async fn verified(office: &Office, branch: &Branch) -> Result<Plan, trust::Refusal> {
    let mut machine = machine(office, branch);
    machine.update(begin()).await?;
    let sync: Sync = branch.client.get("/v1/sync").await.unwrap();
    let trusted = machine.client.trusted().unwrap();
    assert_eq!(sync.metadata, trusted.version(&RoleName::Timestamp), "the hint is the timestamp's version");
    let envelope = serde_json::to_vec(&sync.plan.unwrap()).unwrap();
    let (keys, floors) = (trusted.plan_keys()?, Floors::default());
    let expected = Expected { keys: &keys, branch: &branch.name, now: begin(), floors: &floors };
    Ok(verify(&envelope, expected)?.plan().clone())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_with_nothing_but_the_root_gets_to_the_present_state() {
    let office = Office::start().await;
    let branch = office.branch("north", "k1", &[]).await;
    let mut machine = machine(&office, &branch);
    machine.update(begin()).await.unwrap();
    let files = store::read(&office.settings.trust.metadata).unwrap().files();
    assert_eq!(machine.client.files(), files);
    let sync: Sync = branch.client.get("/v1/sync").await.unwrap();
    assert_eq!(sync.metadata, machine.client.trusted().unwrap().version(&RoleName::Timestamp));
    for name in files.keys() {
        let answer = branch.client.request(Method::GET, &paths::metadata(name)).send().await.unwrap();
        let cached = answer.headers()["cache-control"].to_str().unwrap().to_owned();
        assert_eq!((answer.status().as_u16(), cached.contains("immutable")), (200, name != "timestamp.json"), "{name}");
        assert_eq!(answer.headers()["content-type"], "application/json");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_metadata_is_a_404_and_strangers_get_nothing() {
    let office = Office::start().await;
    let branch = office.branch("north", "k1", &[]).await;
    for name in ["2.root.json", "root.json", "1.targets.json", "..%2Fonline%2Fplan.pem", ".lock", "%00", "timestamp"] {
        let refused = branch.client.get::<serde_json::Value>(&paths::metadata(name)).await;
        assert_eq!(refusal(refused), Code::NotFound, "{name}");
    }
    let path = paths::metadata("timestamp.json");
    assert_eq!(status_of(&office.machine(None), Method::GET, &path).await, 401);
    assert_eq!(status_of(&office.stranger(), Method::GET, &path).await, 401);
    assert_eq!(status_of(&office.as_role(Role::Viewer), Method::GET, &path).await, 200, "who signs elsewhere needs it");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_is_signed_by_the_plan_key() {
    let (office, branch) = assigned().await;
    let plan = verified(&office, &branch).await.unwrap();
    assert_eq!((plan.branch.as_str(), plan.steps.len()), ("north", 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_of_before_there_were_signatures_or_of_a_key_that_is_gone_is_issued_anew() {
    let (office, branch) = assigned().await;
    let client = connection(&office.pool().await).await.unwrap();
    let foreign = json!([{ "keyid": "0".repeat(64), "sig": "AAAA" }]);
    for signatures in [json!([]), foreign] {
        let before = verified(&office, &branch).await.unwrap();
        let sql = "UPDATE plans SET envelope = jsonb_set(envelope, '{signatures}', $1)";
        client.execute(sql, &[&signatures]).await.unwrap();
        let after = wait_for("the next plan", PATIENCE, async || match verified(&office, &branch).await {
            Ok(plan) if plan.serial > before.serial => Ok(plan),
            other => Err(format!("{other:?}")),
        })
        .await;
        assert!(after.serial > before.serial && after.steps == before.steps, "{after:?}");
        assert_eq!(verified(&office, &branch).await.unwrap(), after, "once is enough");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn metadata_is_renewed_well_before_its_end_and_shown_by_the_metrics() {
    let mut office = Office::start().await;
    let branch = office.branch("north", "k1", &[]).await;
    let seconds = async |office: &Office| {
        wait_for("the metrics", PATIENCE, async || {
            let answer = office.admin().request(Method::GET, "/metrics").send().await.unwrap();
            let text = answer.text().await.unwrap();
            let line = text.lines().find(|l| l.starts_with("filial_metadata_expires_seconds{role=\"timestamp\"}"));
            line.and_then(|l| l.rsplit(' ').next()?.parse::<i64>().ok()).ok_or(text)
        })
        .await
    };
    assert_eq!(seconds(&office).await, 7 * 86_400);
    let read = |office: &Office| store::read(&office.settings.trust.metadata).unwrap();
    let before = read(&office);
    // Less than half has passed: nothing is signed.
    office.stop().await;
    office.clock.advance(TimeDelta::days(3));
    office.resume().await;
    assert_eq!(read(&office).files(), before.files());
    // More than half.
    office.stop().await;
    office.clock.advance(TimeDelta::days(1));
    office.resume().await;
    let after = read(&office);
    let at = office.clock.now();
    assert_eq!(after.expires(&RoleName::Timestamp), Some(at + TimeDelta::days(7)));
    assert_eq!(after.expires(&RoleName::Snapshot), Some(at + TimeDelta::days(7)));
    assert_eq!(after.version(&RoleName::Derived), before.version(&RoleName::Derived), "this lasts far longer");
    assert_eq!(seconds(&office).await, 7 * 86_400);
    // Long after every end it begins again by itself.
    office.stop().await;
    office.clock.advance(TimeDelta::days(200));
    office.resume().await;
    let after = read(&office);
    assert!(after.version(&RoleName::Derived) == before.version(&RoleName::Derived), "ten years last");
    let token = office.as_branch(&branch);
    Machine::new(&office.trust(), token).update(office.clock.now()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_published_before_there_were_signatures_is_signed_at_the_next_start() {
    let (mut office, branch) = assigned().await;
    let plan = verified(&office, &branch).await.unwrap();
    office.stop().await;
    office.resume().await;
    let client = office.as_branch(&branch);
    wait_for("somebody to vouch for it", PATIENCE, async || {
        let mut machine = Machine::new(&office.trust(), client.clone());
        machine.update(begin()).await.map_err(|r| r.to_string())?;
        let trusted = machine.client.trusted().unwrap();
        let checked = trusted.check_step(&plan.steps[0], begin()).and(trusted.check_artifacts(&plan.steps[0], begin()));
        checked.map(drop).map_err(|r| r.to_string())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_people_must_sign_again_is_shown_in_the_status_until_they_have() {
    let mut office = Office::start().await;
    let alerts = async |office: &Office| office.admin().get::<Status>(paths::STATUS).await.unwrap().alerts;
    assert_eq!(alerts(&office).await, []);
    office.stop().await;
    office.clock.advance(TimeDelta::days(3650 - 20));
    office.resume().await;
    let said = wait_for("an alert", PATIENCE, async || {
        let said = alerts(&office).await;
        if said.iter().any(|a| a.reason.text.contains("root")) { Ok(said) } else { Err(format!("{said:?}")) }
    })
    .await;
    assert!(said.iter().all(|alert| alert.reason.code == ReasonCode::MetadataExpires), "{said:?}");
    assert!(said.iter().any(|alert| alert.remedy.contains("filial trust propose")), "{said:?}");
    // What head office renews by itself raises no alert.
    assert!(said.iter().all(|alert| !alert.reason.text.contains("timestamp")), "{said:?}");
}
