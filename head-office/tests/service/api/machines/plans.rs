//! Plans that follow reports: how often, and how many are kept.

use chrono::TimeDelta;
use head_office::rollout::past::prune;
use service_kit::Clock as _;
use service_kit::database::connection;
use test_kit::wait_for;
use wire::PLAN_PAYLOAD_TYPE;
use wire::v1::fleet::PlanIssued;
use wire::v1::plan::Plan;
use wire::v1::sync::Sync;

use crate::support::{Branch, Office, PATIENCE, count, published};

async fn plan_of(branch: &Branch) -> Plan {
    let sync: Sync = branch.client.get("/v1/sync").await.unwrap();
    sync.plan.unwrap().open(PLAN_PAYLOAD_TYPE).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_terminal_whose_facts_change_with_every_report_causes_few_plans() {
    let office = Office::start().await;
    published(&office, "kiosk", "2.0.0", "k1").await;
    let mut branch = office.branch("north", "k1", &["till-1"]).await;
    let body = serde_json::json!({ "branch": "north", "product": "kiosk", "version": "2.0.0" });
    let first: PlanIssued = office.admin().post("/v1/assignments", &body).await.unwrap();
    for _ in 0..50 {
        branch.seen("till-1", "k9").await;
        branch.seen("till-1", "k1").await;
    }
    branch.seen("till-2", "k1").await;
    let pool = office.pool().await;
    assert_eq!(count(&pool, "SELECT count(*) FROM plans").await, 1);
    assert_eq!(plan_of(&branch).await.serial, first.serial);

    // Nobody reports any more, and the last of it counts all the same.
    office.clock.advance(TimeDelta::seconds(5));
    wait_for("the plan to follow", PATIENCE, async || {
        let plan = plan_of(&branch).await;
        if plan.steps[0].terminals.len() == 2 { Ok(()) } else { Err(format!("{plan:?}")) }
    })
    .await;
    assert_eq!(count(&pool, "SELECT count(*) FROM plans").await, 2);
    assert_eq!(count(&pool, "SELECT count(*) FROM delayed_plans").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn past_plans_are_forgotten_but_for_the_newest() {
    const COPIES: &str = "INSERT INTO plans (branch, serial, issued, expires, steps, packages, envelope)
        SELECT branch, serial - n, issued, $1, steps, packages, envelope FROM plans, generate_series(1, $2) AS n
        WHERE serial = (SELECT max(serial) FROM plans)";
    let office = Office::start().await;
    published(&office, "kiosk", "2.0.0", "k1").await;
    let branch = office.branch("north", "k1", &["till-1"]).await;
    let body = serde_json::json!({ "branch": "north", "product": "kiosk", "version": "2.0.0" });
    let issued: PlanIssued = office.admin().post("/v1/assignments", &body).await.unwrap();
    let (pool, now) = (office.pool().await, office.clock.now());
    let client = connection(&pool).await.unwrap();
    let plans = async || count(&pool, "SELECT count(*) FROM plans").await;

    // Unexpired ones stay, up to a thousand.
    client.execute(COPIES, &[&(now + TimeDelta::days(1)), &1_200_i32]).await.unwrap();
    assert_eq!(prune(&pool, now).await.unwrap(), 201);
    assert_eq!(plans().await, 1000);
    assert_eq!(prune(&pool, now + TimeDelta::days(1)).await.unwrap(), 980);
    assert_eq!(plans().await, 20);
    // Even a clock that is decades ahead leaves what branch servers ask for.
    prune(&pool, now + TimeDelta::days(20_000)).await.unwrap();
    assert_eq!(plan_of(&branch).await.serial, issued.serial);
}
