//! Releases that are taken back, wherever they stand.

use chrono::TimeDelta;
use fleet_types::ReleaseState;
use reqwest::Method;
use serde_json::json;
use service_kit::database::connection;
use service_kit::server::Role;
use test_kit::wait_for;
use uuid::Uuid;
use wire::v1::fleet::{Branch, PlanIssued};
use wire::v1::plan::Plan;
use wire::v1::releases::{Release, Withdrawn};
use wire::v1::sync::Sync;
use wire::{Code, PLAN_PAYLOAD_TYPE, Reason, ReasonCode};

use crate::api::refusal;
use crate::support::archive::{Recipe, pack};
use crate::support::tus::{create, patch, upload};
use crate::support::{Office, PATIENCE, begin, count, published};

const REASON: &str = "Receipts print twice.";

async fn withdraw(office: &Office, id: Uuid) -> Result<Withdrawn, service_kit::client::ClientError> {
    let body = json!({ "reason": REASON });
    office.as_role(Role::Operator).post(&format!("/v1/releases/{id}/withdraw"), &body).await
}

async fn newest(office: &Office) -> Release {
    let all: Vec<Release> = office.admin().get("/v1/releases").await.unwrap();
    all.into_iter().next().unwrap()
}

fn plan(sync: Sync) -> Plan {
    sync.plan.unwrap().open(PLAN_PAYLOAD_TYPE).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_published_release_leaves_every_plan_and_its_version_is_free_again() {
    let office = Office::start().await;
    published(&office, "kiosk", "2.0.0", "k1").await;
    let release = newest(&office).await;
    let mut branches = Vec::new();
    for name in ["east", "north"] {
        branches.push(office.branch(name, "k1", &["till-1", "till-2"]).await);
        let body = json!({ "branch": name, "product": "kiosk", "version": "2.0.0" });
        office.admin().post::<_, PlanIssued>("/v1/assignments", &body).await.unwrap();
    }
    let before = plan(branches[0].client.get("/v1/sync").await.unwrap());
    assert_eq!(before.steps.len(), 1);

    let done = withdraw(&office, release.id).await.unwrap();
    assert_eq!((done.release.state, done.branches), (ReleaseState::Withdrawn, 2));
    assert_eq!(done.release.reasons, [Reason::new(ReasonCode::Withdrawn, REASON)]);
    for branch in &branches {
        let sync: Sync = branch.client.get("/v1/sync").await.unwrap();
        assert!(sync.available.is_empty());
        let after = plan(sync);
        assert!(after.serial > before.serial && after.steps.is_empty(), "{after:?}");
        let shown: Branch = office.admin().get(&format!("/v1/branches/{}", branch.name)).await.unwrap();
        assert!(shown.assignments.is_empty());
    }
    // It stays withdrawn: no assignment, no second withdrawal, no approval.
    let body = json!({ "branch": "north", "product": "kiosk", "version": "2.0.0" });
    let again = office.admin().post::<_, PlanIssued>("/v1/assignments", &body).await;
    assert_eq!(refusal(again), Code::NotPublished);
    assert_eq!(refusal(withdraw(&office, release.id).await), Code::WrongState);
    let client = connection(&office.pool().await).await.unwrap();
    let row = client.query_one("SELECT withdrawn_by FROM releases WHERE id = $1", &[&release.id]).await.unwrap();
    assert_eq!(row.get::<_, &str>(0), "operator");

    // The same version again: another release.
    published(&office, "kiosk", "2.0.0", "k1").await;
    let issued: PlanIssued = office.admin().post("/v1/assignments", &body).await.unwrap();
    assert_eq!(issued.terminals.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_not_published_yet_is_withdrawn_too() {
    let office = Office::start().await;
    let client = connection(&office.pool().await).await.unwrap();
    // No job knows of these rows: they stay where they are put.
    for state in ["awaiting-signature", "approved", "publishing", "validating"] {
        let id = Uuid::new_v4();
        let sql = "INSERT INTO releases (id, state, file_name, archive_bytes, product, version, created_by, created_at,
            changed_at, touched_at) VALUES ($1, $2, 'a.upd', 10, 'kiosk', '1.0.0', 'test', $3, $3, $3)";
        client.execute(sql, &[&id, &state, &begin()]).await.unwrap();
        let done = withdraw(&office, id).await.unwrap();
        assert_eq!((done.release.state, done.branches), (ReleaseState::Withdrawn, 0), "{state}");
    }
    for (state, code) in [("rejected", Code::WrongState), ("withdrawn", Code::WrongState)] {
        let id = Uuid::new_v4();
        let sql = "INSERT INTO releases (id, state, file_name, archive_bytes, created_by, created_at, changed_at,
            touched_at) VALUES ($1, $2, 'a.upd', 10, 'test', $3, $3, $3)";
        client.execute(sql, &[&id, &state, &begin()]).await.unwrap();
        assert_eq!(refusal(withdraw(&office, id).await), code, "{state}");
    }
    let gone = withdraw(&office, Uuid::new_v4()).await;
    assert_eq!(refusal(gone), Code::NotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_is_withdrawn_takes_no_more_bytes_and_leaves_no_file() {
    let office = Office::start().await;
    let manager = office.as_role(Role::ReleaseManager);
    let id = create(&manager, 1000).await;
    assert_eq!(patch(&manager, id, 0, &[7; 400]).await.status(), 204);
    withdraw(&office, id).await.unwrap();
    assert!(!office.dir.path().join(format!("store/uploads/{id}.upd")).exists());
    assert_eq!(patch(&manager, id, 400, &[7; 100]).await.status(), 410);
    let asked = manager.request(Method::HEAD, &format!("/v1/uploads/{id}")).header("Tus-Resumable", "1.0.0");
    assert_eq!(asked.send().await.unwrap().status(), 410);
    assert_eq!(office.release(id).await.state, ReleaseState::Withdrawn);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_publishes_stops_and_cleans_up_when_the_release_is_withdrawn() {
    // No daemons: the job encodes, then repeats listing until an operator withdraws the release.
    let office = Office::start().await;
    office.branch("north", "kiosk-x86", &["till-1"]).await;
    let file = pack(office.dir.path(), &Recipe::default());
    let bytes = std::fs::read(file).unwrap();
    let manager = office.as_role(Role::ReleaseManager);
    let id = upload(&manager, &bytes).await;
    wait_for("listing to be tried", PATIENCE, async || {
        let release = office.release(id).await;
        let listing = release.progress.as_ref().is_some_and(|p| p.step == "listing");
        if listing { Ok(()) } else { Err(format!("{release:?}")) }
    })
    .await;
    withdraw(&office, id).await.unwrap();
    let pool = office.pool().await;
    let open = "SELECT count(*) FROM jobs WHERE done_at IS NULL";
    wait_for("the job to end", PATIENCE, async || {
        // An attempt that failed before the withdrawal is repeated once its time has come.
        office.clock.advance(TimeDelta::seconds(1));
        match count(&pool, open).await {
            0 => Ok(()),
            n => Err(n),
        }
    })
    .await;
    let release = office.release(id).await;
    let withdrawn = vec![Reason::new(ReasonCode::Withdrawn, REASON)];
    assert_eq!((release.state, release.reasons), (ReleaseState::Withdrawn, withdrawn));
    for folder in ["uploads", "work"] {
        let left = std::fs::read_dir(office.dir.path().join("store").join(folder)).unwrap().count();
        assert_eq!(left, 0, "{folder}");
    }
    // Its version can be uploaded again and gets as far as the first did.
    let again = upload(&manager, &bytes).await;
    office.wait_for_state(again, ReleaseState::Publishing).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_who_may_withdraws_and_says_why() {
    let office = Office::start().await;
    published(&office, "kiosk", "2.0.0", "k1").await;
    let path = format!("/v1/releases/{}/withdraw", newest(&office).await.id);
    let good = json!({ "reason": REASON });
    for (client, code) in [(office.as_role(Role::Viewer), Code::Forbidden), (office.stranger(), Code::Unauthenticated)]
    {
        assert_eq!(refusal(client.post::<_, Withdrawn>(&path, &good).await), code);
    }
    for bad in [json!({ "reason": " " }), json!({ "reason": "x".repeat(2000) }), json!({})] {
        let answer = office.as_role(Role::Operator).post::<_, Withdrawn>(&path, &bad).await;
        assert_eq!(refusal(answer), Code::BadField, "{bad}");
    }
    assert_eq!(newest(&office).await.state, ReleaseState::Published);
}
