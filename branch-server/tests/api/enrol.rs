//! POST /v1/enrol

use reqwest::StatusCode;
use serde_json::{Value, json};
use wire::Code;
use wire::v1::reports::Report;
use wire::v1::sync::EnrolResponse;

use crate::support::{Branch, JOIN, Options, assert_refused, facts};

#[tokio::test(flavor = "multi_thread")]
async fn a_terminal_gets_an_identity_that_works_and_head_office_hears_of_it() {
    let branch = Branch::enrolled().await;
    let body = json!({ "join_token": JOIN, "terminal": facts("till-1") });
    let response = branch.post("/v1/enrol", None, body.to_string()).await;
    assert_eq!(response.status(), StatusCode::OK);
    let answer: EnrolResponse = response.json().await.unwrap();
    assert_eq!(answer.branch.as_str(), "north");
    assert_eq!(branch.ask("/v1/sync", &answer.token).await.status(), StatusCode::OK);

    let delivered = branch_server::relay::deliver(&branch.app.pool, &*branch.app.head_office, 200).await.unwrap();
    assert_eq!(delivered, branch_server::relay::Delivery::Delivered(1));
    let counted = branch.head_office.with(|s| s.counted.clone());
    assert_eq!(counted[0].report, Report::TerminalSeen { facts: facts("till-1") });
}

#[tokio::test(flavor = "multi_thread")]
async fn the_token_is_kept_as_a_hash_only() {
    let branch = Branch::enrolled().await;
    let token = branch.enrol("till-1").await;
    let client = branch.app.pool.get().await.unwrap();
    let row = client.query_one("select * from terminals", &[]).await.unwrap();
    let hash: Vec<u8> = row.get("token_sha256");
    assert_eq!(hash, service_kit::token::hash(&token).as_bytes());
    let text: String = client.query_one("select terminals::text from terminals", &[]).await.unwrap().get(0);
    assert!(!text.contains(&token));
}

#[tokio::test(flavor = "multi_thread")]
async fn enrolling_again_ends_the_old_identity() {
    let branch = Branch::enrolled().await;
    let (old, new) = (branch.enrol("till-1").await, branch.enrol("till-1").await);
    assert_refused(branch.ask("/v1/sync", &old).await, Code::Unauthenticated).await;
    assert_eq!(branch.ask("/v1/sync", &new).await.status(), StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_join_token_is_refused() {
    let branch = Branch::enrolled().await;
    let body = json!({ "join_token": "guess", "terminal": facts("till-1") });
    assert_refused(branch.post("/v1/enrol", None, body.to_string()).await, Code::JoinRefused).await;
    let long = json!({ "join_token": "x".repeat(100_000), "terminal": facts("till-1") });
    assert_refused(branch.post("/v1/enrol", None, long.to_string()).await, Code::JoinRefused).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_input_has_its_codes() {
    let branch = Branch::enrolled().await;
    let with = |field: &str, value: Value| {
        let mut terminal = serde_json::to_value(facts("till-1")).unwrap();
        terminal[field] = value;
        json!({ "join_token": JOIN, "terminal": terminal }).to_string()
    };
    for (body, code) in [
        ("{".to_owned(), Code::NotJson),
        (json!({ "join_token": JOIN }).to_string(), Code::BadField),
        (with("name", json!("../etc")), Code::BadField),
        (with("model", json!("")), Code::BadField),
        (with("slot_bytes", json!(-1)), Code::BadField),
        (with("slot_bytes", json!(u64::MAX)), Code::BadField),
        (with("agent_version", json!("1\u{0}")), Code::BadField),
        (with("agent_version", json!("x".repeat(65))), Code::BadField),
        (format!("\"{}\"", "x".repeat(2 << 20)), Code::TooLarge),
    ] {
        let shown: String = body.chars().take(120).collect();
        let response = branch.post("/v1/enrol", None, body).await;
        assert_eq!(response.status().as_u16(), code.status(), "{shown}");
        assert_refused(response, code).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_branch_takes_as_many_terminals_as_its_settings_say() {
    let branch = Branch::enrolled().await;
    for n in 1..=5 {
        branch.enrol(&format!("till-{n}")).await;
    }
    let body = json!({ "join_token": JOIN, "terminal": facts("till-6") });
    assert_refused(branch.post("/v1/enrol", None, body.to_string()).await, Code::TooManyTerminals).await;
    // One that is known already may come again.
    branch.enrol("till-5").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn before_the_branch_server_enrolled_terminals_have_to_wait() {
    let branch = Branch::start(Options::default()).await;
    let body = json!({ "join_token": JOIN, "terminal": facts("till-1") });
    assert_refused(branch.post("/v1/enrol", None, body.to_string()).await, Code::NotReady).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_terminals_join_token_is_made_once_and_readable_by_its_owner_only() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("join");
    let made = branch_server::upstream::terminals_join_token(&file).unwrap();
    let again = branch_server::upstream::terminals_join_token(&file).unwrap();
    assert_eq!(made.expose(), again.expose());
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
}
