use chrono::TimeDelta;
use head_office::db;
use serde_json::json;
use service_kit::Clock;
use service_kit::database::connection;
use service_kit::server::Role;
use wire::v1::fleet::{Branch, PlanIssued};
use wire::v1::plan::Plan;
use wire::v1::reports::Report;
use wire::v1::sync::Sync;
use wire::{Code, PLAN_PAYLOAD_TYPE};

use crate::api::refusal;
use crate::support::archive::insert_published_as;
use crate::support::{Office, published};

fn assign(branch: &str, version: &str) -> serde_json::Value {
    json!({ "branch": branch, "product": "kiosk", "version": version })
}

fn open(sync: &Sync) -> Plan {
    sync.plan.as_ref().unwrap().open(PLAN_PAYLOAD_TYPE).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_assignment_becomes_a_plan_that_the_branch_gets() {
    let office = Office::start().await;
    let artifact = published(&office, "kiosk", "2.0.0", "k1").await;
    let branch = office.branch("north", "k1", &["till-1", "till-2"]).await;
    let operator = office.as_role(Role::Operator);
    let issued: PlanIssued = operator.post("/v1/assignments", &assign("north", "2.0.0")).await.unwrap();
    assert_eq!(issued.terminals.iter().map(|t| t.as_str()).collect::<Vec<_>>(), ["till-1", "till-2"]);
    let sync: Sync = branch.client.get("/v1/sync").await.unwrap();
    let plan = open(&sync);
    assert_eq!((plan.serial, plan.branch.as_str(), plan.steps.len()), (issued.serial, "north", 1));
    assert_eq!(plan.steps[0].artifact, artifact);
    assert_eq!(sync.available, [artifact.sha256]);
    let shown: Branch = office.admin().get("/v1/branches/north").await.unwrap();
    assert_eq!((shown.plan_serial, shown.terminals, shown.confirmed), (Some(plan.serial), 2, 0));
    assert_eq!(shown.assignments[0].version.to_string(), "2.0.0");
    assert_eq!(shown.artifacts[0].artifact, artifact.sha256);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_assignment_again_issues_nothing_and_a_new_terminal_does() {
    let office = Office::start().await;
    published(&office, "kiosk", "2.0.0", "k1").await;
    let mut branch = office.branch("north", "k1", &["till-1"]).await;
    let operator = office.as_role(Role::Operator);
    let first: PlanIssued = operator.post("/v1/assignments", &assign("north", "2.0.0")).await.unwrap();
    let second: PlanIssued = operator.post("/v1/assignments", &assign("north", "2.0.0")).await.unwrap();
    assert_eq!(first, second);
    branch.seen("till-1", "k1").await;
    assert_eq!(open(&branch.client.get("/v1/sync").await.unwrap()).serial, first.serial);
    office.clock.advance(TimeDelta::seconds(5));
    branch.seen("till-2", "k1").await;
    let plan = open(&branch.client.get("/v1/sync").await.unwrap());
    assert!(plan.serial > first.serial);
    assert_eq!(plan.steps[0].terminals.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_branch_without_terminals_gets_its_plan_with_the_first_one() {
    let office = Office::start().await;
    published(&office, "kiosk", "2.0.0", "k1").await;
    let mut branch = office.branch("north", "k1", &[]).await;
    let issued: PlanIssued = office.admin().post("/v1/assignments", &assign("north", "2.0.0")).await.unwrap();
    assert_eq!((issued.serial, issued.terminals.len()), (0, 0));
    assert_eq!(branch.client.get::<Sync>("/v1/sync").await.unwrap().plan, None);
    branch.seen("till-1", "k1").await;
    assert_eq!(open(&branch.client.get("/v1/sync").await.unwrap()).steps[0].terminals.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_run_there_is_refused_and_changes_nothing() {
    let office = Office::start().await;
    published(&office, "kiosk", "2.0.0", "k1").await;
    let branch = office.branch("north", "k9", &["till-1"]).await;
    let admin = office.admin();
    let post = async |body| refusal(admin.post::<_, PlanIssued>("/v1/assignments", &body).await);
    assert_eq!(post(assign("north", "2.0.0")).await, Code::NothingToInstall);
    assert_eq!(post(assign("north", "3.0.0")).await, Code::NotPublished);
    assert_eq!(post(assign("nowhere", "2.0.0")).await, Code::NotFound);
    assert_eq!(post(assign("north", "two")).await, Code::BadField);
    assert_eq!(branch.client.get::<Sync>("/v1/sync").await.unwrap().plan, None);
    let shown: Branch = admin.get("/v1/branches/north").await.unwrap();
    assert!(shown.assignments.is_empty());
    for (client, code) in [(office.as_role(Role::Viewer), Code::Forbidden), (office.stranger(), Code::Unauthenticated)]
    {
        let answer = client.post::<_, PlanIssued>("/v1/assignments", &assign("north", "2.0.0")).await;
        assert_eq!(refusal(answer), code);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_downgrade_must_be_asked_for() {
    let office = Office::start().await;
    published(&office, "kiosk", "2.0.0", "k1").await;
    let mut branch = office.branch("north", "k1", &["till-1"]).await;
    branch
        .report(Report::Running {
            terminal: "till-1".parse().unwrap(),
            slot: fleet_types::Slot::A,
            version: "3.0.0".parse().unwrap(),
        })
        .await;
    let answer = office.admin().post::<_, PlanIssued>("/v1/assignments", &assign("north", "2.0.0")).await;
    assert_eq!(refusal(answer), Code::BadField);
    let mut body = assign("north", "2.0.0");
    body["downgrade"] = true.into();
    office.admin().post::<_, PlanIssued>("/v1/assignments", &body).await.unwrap();
    assert!(open(&branch.client.get("/v1/sync").await.unwrap()).steps[0].downgrade);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_assignment_that_ends_leaves_the_plan() {
    let office = Office::start().await;
    published(&office, "kiosk", "2.0.0", "k1").await;
    published(&office, "signage", "1.0.0", "s1").await;
    let mut branch = office.branch("north", "k1", &["till-1"]).await;
    branch.seen("screen-1", "s1").await;
    let operator = office.as_role(Role::Operator);
    let first: PlanIssued = operator.post("/v1/assignments", &assign("north", "2.0.0")).await.unwrap();
    let other = json!({ "branch": "north", "product": "signage", "version": "1.0.0" });
    operator.post::<_, PlanIssued>("/v1/assignments", &other).await.unwrap();
    let path = "/v1/assignments/north/kiosk";
    assert_eq!(refusal(office.as_role(Role::Viewer).delete::<PlanIssued>(path).await), Code::Forbidden);
    let ended: PlanIssued = operator.delete(path).await.unwrap();
    assert!(ended.serial > first.serial && ended.terminals.is_empty());
    let plan = open(&branch.client.get("/v1/sync").await.unwrap());
    assert_eq!(plan.steps.iter().map(|s| s.product.as_str()).collect::<Vec<_>>(), ["signage"]);
    assert_eq!(plan.serial, ended.serial);
    for missing in [path, "/v1/assignments/nowhere/kiosk"] {
        assert_eq!(refusal(operator.delete::<PlanIssued>(missing).await), Code::NotFound);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_of_packages_alone_is_assigned_beside_the_slot() {
    let office = Office::start().await;
    published(&office, "kiosk", "2.0.0", "k1").await;
    let pool = office.pool().await;
    let tools = insert_published_as(&pool, "tools", "1.0.0", "k1", ("tools", "package")).await;
    let mut branch = office.branch("north", "k1", &["till-1", "till-2"]).await;
    // Its version lies below what runs, which does not concern packages.
    branch.runs("till-1", "2.0.0").await;
    let operator = office.as_role(Role::Operator);
    let body = json!({ "branch": "north", "product": "tools", "version": "1.0.0" });
    let issued: PlanIssued = operator.post("/v1/assignments", &body).await.unwrap();
    assert_eq!(issued.terminals.len(), 2);
    operator.post::<_, PlanIssued>("/v1/assignments", &assign("north", "2.0.0")).await.unwrap();
    let sync: Sync = branch.client.get("/v1/sync").await.unwrap();
    let plan = open(&sync);
    assert_eq!((plan.steps.len(), plan.packages.len()), (1, 1));
    assert_eq!((&plan.packages[0].artifact, plan.packages[0].payload.name.as_str()), (&tools, "tools"));
    assert_eq!(sync.available, [plan.steps[0].artifact.sha256, tools.sha256]);
    let shown: Branch = office.admin().get("/v1/branches/north").await.unwrap();
    assert_eq!(shown.artifacts.iter().map(|a| a.product.as_str()).collect::<Vec<_>>(), ["kiosk", "tools"]);

    // The plan that names it holds it, as it does an image.
    let index = format!("/v1/artifacts/{}/index", tools.sha256);
    assert_ne!(refusal(branch.client.get::<serde_json::Value>(&index).await), Code::NotInYourPlan);
    let client = connection(&pool).await.unwrap();
    client.execute("UPDATE releases SET state = 'withdrawn' WHERE product = 'tools'", &[]).await.unwrap();
    let later = office.clock.now() + TimeDelta::days(300);
    assert_eq!(db::artifacts::due(&client, Some(later), later, 10).await.unwrap(), [], "a current plan names it");
    client.execute("UPDATE plans SET packages = '[]'", &[]).await.unwrap();
    assert_eq!(db::artifacts::due(&client, Some(later), later, 10).await.unwrap(), [tools]);
}
