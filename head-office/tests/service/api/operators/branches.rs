use reqwest::Method;
use serde_json::json;
use service_kit::server::Role;
use wire::Code;
use wire::v1::fleet::{Branch, BranchAdded, BranchRemoved};

use crate::api::refusal;
use crate::support::{Office, begin, status_of};

#[tokio::test(flavor = "multi_thread")]
async fn a_branch_is_added_and_shown() {
    let office = Office::start().await;
    let added = office.add_branch("north").await;
    assert!(added.join_token.starts_with("join-"));
    assert_eq!(added.join_token_expires, begin() + chrono::TimeDelta::hours(72));
    office.add_branch("east").await;
    let all: Vec<Branch> = office.as_role(Role::Viewer).get("/v1/branches").await.unwrap();
    assert_eq!(all.iter().map(|b| b.name.as_str()).collect::<Vec<_>>(), ["east", "north"]);
    let one: Branch = office.as_role(Role::Viewer).get("/v1/branches/north").await.unwrap();
    assert!(!one.enrolled && one.plan_serial.is_none() && one.terminals == 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_taken_name_is_refused_unless_nobody_joined_in_time() {
    let office = Office::start().await;
    let first = office.add_branch("north").await;
    let again = json!({ "name": "north" });
    assert_eq!(refusal(office.admin().post::<_, BranchAdded>("/v1/branches", &again).await), Code::NameTaken);
    office.clock.advance(chrono::TimeDelta::hours(73));
    let second: BranchAdded = office.admin().post("/v1/branches", &again).await.unwrap();
    assert_ne!(first.join_token, second.join_token);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_joined_branch_keeps_its_name_for_ever() {
    let office = Office::start().await;
    office.branch("north", "k1", &[]).await;
    office.clock.advance(chrono::TimeDelta::days(365));
    let again = json!({ "name": "north" });
    assert_eq!(refusal(office.admin().post::<_, BranchAdded>("/v1/branches", &again).await), Code::NameTaken);
}

#[tokio::test(flavor = "multi_thread")]
async fn names_that_are_none_are_refused_with_a_code() {
    let office = Office::start().await;
    for bad in [json!({ "name": "North!" }), json!({ "name": 7 }), json!({})] {
        assert_eq!(refusal(office.admin().post::<_, BranchAdded>("/v1/branches", &bad).await), Code::BadField, "{bad}");
    }
    let not_json = office.admin().request(Method::POST, "/v1/branches").header("Content-Type", "application/json");
    let problem: wire::Problem = not_json.body("{").send().await.unwrap().json().await.unwrap();
    assert_eq!(problem.code, Code::NotJson);
    let huge = json!({ "name": "a".repeat(2 << 20) });
    assert_eq!(refusal(office.admin().post::<_, BranchAdded>("/v1/branches", &huge).await), Code::TooLarge);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_an_admin_adds_branches() {
    let office = Office::start().await;
    for role in [Role::Viewer, Role::Operator, Role::ReleaseManager] {
        let answer = office.as_role(role).post::<_, BranchAdded>("/v1/branches", &json!({ "name": "north" })).await;
        assert_eq!(refusal(answer), Code::Forbidden);
    }
    assert_eq!(status_of(&office.stranger(), Method::GET, "/v1/branches").await, 401);
    assert_eq!(refusal(office.admin().get::<Branch>("/v1/branches/nowhere").await), Code::NotFound);
    assert_eq!(refusal(office.admin().get::<Branch>("/v1/branches/NO").await), Code::BadRequest);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_branch_in_use_is_removed_only_by_force_and_its_server_is_told() {
    let office = Office::start().await;
    crate::support::published(&office, "kiosk", "2.0.0", "k1").await;
    let mut branch = office.branch("north", "k1", &["till-1"]).await;
    let assign = json!({ "branch": "north", "product": "kiosk", "version": "2.0.0" });
    office.admin().post::<_, wire::v1::fleet::PlanIssued>("/v1/assignments", &assign).await.unwrap();
    let running = wire::v1::reports::Report::Running {
        terminal: "till-1".parse().unwrap(),
        slot: fleet_types::Slot::A,
        version: "1.0.0".parse().unwrap(),
    };
    branch.report(running).await;
    let remove = async |path: &str| office.admin().delete::<BranchRemoved>(path).await;
    let error = remove("/v1/branches/north").await.unwrap_err();
    assert!(error.to_string().contains("till-1") && error.to_string().contains("--force"), "{error}");
    assert_eq!(refusal(remove("/v1/branches/north").await), Code::BranchInUse);
    for role in [Role::Viewer, Role::Operator, Role::ReleaseManager] {
        let answer = office.as_role(role).delete::<BranchRemoved>("/v1/branches/north?force=true").await;
        assert_eq!(refusal(answer), Code::Forbidden);
    }
    let removed = remove("/v1/branches/north?force=true").await.unwrap();
    assert_eq!((removed.name.as_str(), removed.terminals), ("north", 1));
    assert_eq!(refusal(remove("/v1/branches/north").await), Code::NotFound);

    // Nothing of it is left but the memory of its void identity.
    let pool = office.pool().await;
    for table in ["branches", "terminals", "updates", "moves", "plans", "assignments", "report_epochs"] {
        assert_eq!(crate::support::count(&pool, &format!("SELECT count(*) FROM {table}")).await, 0, "{table}");
    }
    let answer = branch.client.get::<wire::v1::sync::Sync>("/v1/sync").await;
    let text = answer.as_ref().unwrap_err().to_string();
    assert!(text.contains("north was removed") && text.contains("branch add"), "{text}");
    assert_eq!(refusal(answer), Code::BranchRemoved);

    // The name is free; a plan of the new branch lies above those of the old.
    let again = office.branch("north", "k1", &["till-1"]).await;
    office.admin().post::<_, wire::v1::fleet::PlanIssued>("/v1/assignments", &assign).await.unwrap();
    let sync: wire::v1::sync::Sync = again.client.get("/v1/sync").await.unwrap();
    assert!(sync.plan.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_branch_that_is_quiet_for_a_day_or_never_enrolled_is_removed_without_force() {
    let office = Office::start().await;
    office.branch("north", "k1", &["till-1"]).await;
    office.add_branch("east").await;
    office.clock.advance(chrono::TimeDelta::hours(25));
    for name in ["north", "east"] {
        office.admin().delete::<BranchRemoved>(&format!("/v1/branches/{name}")).await.unwrap();
    }
    let all: Vec<Branch> = office.admin().get("/v1/branches").await.unwrap();
    assert!(all.is_empty());
}
