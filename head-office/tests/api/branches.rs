use reqwest::Method;
use serde_json::json;
use service_kit::server::Role;
use wire::Code;
use wire::v1::fleet::{Branch, BranchAdded};

use crate::refusal;
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
