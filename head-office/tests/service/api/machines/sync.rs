use chrono::TimeDelta;
use serde_json::json;
use test_kit::wait_for;
use wire::v1::fleet::PlanIssued;
use wire::v1::plan::Plan;
use wire::v1::sync::Sync;
use wire::{Code, PLAN_PAYLOAD_TYPE};

use crate::api::refusal;
use crate::support::{Office, PATIENCE, published};

#[tokio::test(flavor = "multi_thread")]
async fn a_branch_that_was_told_nothing_has_no_plan() {
    let office = Office::start().await;
    let branch = office.branch("north", "k1", &["till-1"]).await;
    let sync: Sync = branch.client.get("/v1/sync").await.unwrap();
    assert_eq!((sync.plan, sync.available), (None, vec![]));
    assert_eq!(refusal(office.machine(None).get::<Sync>("/v1/sync").await), Code::Unauthenticated);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_stays_byte_for_byte_and_is_made_anew_at_half_of_its_life() {
    let office = Office::start().await;
    published(&office, "kiosk", "2.0.0", "k1").await;
    let branch = office.branch("north", "k1", &["till-1"]).await;
    let body = json!({ "branch": "north", "product": "kiosk", "version": "2.0.0" });
    office.admin().post::<_, PlanIssued>("/v1/assignments", &body).await.unwrap();
    let first: Sync = branch.client.get("/v1/sync").await.unwrap();
    office.clock.advance(TimeDelta::days(14));
    assert_eq!(branch.client.get::<Sync>("/v1/sync").await.unwrap(), first);
    office.clock.advance(TimeDelta::days(2));
    let second = wait_for("the next plan", PATIENCE, async || {
        let second: Sync = branch.client.get("/v1/sync").await.unwrap();
        if second.plan == first.plan { Err("the plan is the same") } else { Ok(second) }
    })
    .await;
    let open = |s: &Sync| s.plan.as_ref().unwrap().open::<Plan>(PLAN_PAYLOAD_TYPE).unwrap();
    let (before, after) = (open(&first), open(&second));
    assert!(after.serial > before.serial && after.expires == before.expires + TimeDelta::days(16));
    assert_eq!(after.steps, before.steps);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_branch_sees_only_its_own_plan() {
    let office = Office::start().await;
    published(&office, "kiosk", "2.0.0", "k1").await;
    office.branch("north", "k1", &["till-1"]).await;
    let east = office.branch("east", "k1", &["till-1"]).await;
    let body = json!({ "branch": "north", "product": "kiosk", "version": "2.0.0" });
    office.admin().post::<_, PlanIssued>("/v1/assignments", &body).await.unwrap();
    assert_eq!(east.client.get::<Sync>("/v1/sync").await.unwrap().plan, None);
}
