use serde_json::json;
use wire::Code;
use wire::v1::fleet::Branch;
use wire::v1::sync::{EnrolRequest, EnrolResponse, Sync};

use crate::refusal;
use crate::support::{Office, count, facts};

fn with(token: &str) -> EnrolRequest {
    EnrolRequest { join_token: token.to_owned(), terminal: None }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_join_token_gives_an_identity_once() {
    let office = Office::start().await;
    let added = office.add_branch("north").await;
    let answer: EnrolResponse = office.machine(None).post("/v1/enrol", &with(&added.join_token)).await.unwrap();
    assert_eq!(answer.branch.as_str(), "north");
    office.machine(Some(&answer.token)).get::<Sync>("/v1/sync").await.unwrap();
    let branch: Branch = office.admin().get("/v1/branches/north").await.unwrap();
    assert!(branch.enrolled && branch.last_heard.is_some());
    let again = office.machine(None).post::<_, EnrolResponse>("/v1/enrol", &with(&added.join_token)).await;
    assert_eq!(refusal(again), Code::JoinRefused);
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_expired_and_absurd_tokens_get_the_same_answer() {
    let office = Office::start().await;
    let added = office.add_branch("north").await;
    office.clock.advance(chrono::TimeDelta::hours(73));
    for token in [added.join_token.as_str(), "join-unknown", "", &"x".repeat(100_000)] {
        let answer = office.machine(None).post::<_, EnrolResponse>("/v1/enrol", &with(token)).await;
        assert_eq!(refusal(answer), Code::JoinRefused);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_terminal_is_sent_to_its_branch_server() {
    let office = Office::start().await;
    let added = office.add_branch("north").await;
    let request = EnrolRequest { join_token: added.join_token, terminal: Some(facts("till-1", "k1")) };
    assert_eq!(refusal(office.machine(None).post::<_, EnrolResponse>("/v1/enrol", &request).await), Code::BadField);
    assert_eq!(refusal(office.machine(None).post::<_, EnrolResponse>("/v1/enrol", &json!({})).await), Code::BadField);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_token_lies_in_the_database() {
    let office = Office::start().await;
    let added = office.add_branch("north").await;
    let branch = office.branch("east", "k1", &[]).await;
    for token in [&added.join_token, &branch.token] {
        let sql = format!("SELECT count(*) FROM branches b WHERE b::text LIKE '%{token}%'");
        assert_eq!(count(&office.pool().await, &sql).await, 0);
    }
}
