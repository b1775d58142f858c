use std::time::Duration;

use serde_json::json;
use service_kit::client::{EventStream, JsonClient, SseEvent};
use wire::Code;
use wire::v1::fleet::PlanIssued;

use crate::api::refusal;
use crate::support::{Office, PATIENCE, published};

async fn stream(client: &JsonClient, last: Option<&str>) -> EventStream {
    client.events("/v1/events", last, PATIENCE).await.unwrap()
}

async fn next(stream: &mut EventStream) -> SseEvent {
    stream.next().await.unwrap().unwrap()
}

async fn assign(office: &Office, version: &str) {
    let body = json!({ "branch": "north", "product": "kiosk", "version": version });
    office.admin().post::<_, PlanIssued>("/v1/assignments", &body).await.unwrap();
}

/// Whether nothing comes before a later event that certainly comes.
async fn is_silent(stream: &mut EventStream) -> bool {
    tokio::time::timeout(Duration::from_millis(300), stream.next()).await.is_err()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_event_comes_at_once_and_the_next_with_a_plan() {
    let office = Office::start().await;
    published(&office, "kiosk", "2.0.0", "k1").await;
    let branch = office.branch("north", "k1", &["till-1"]).await;
    let mut events = stream(&branch.client, None).await;
    let first = next(&mut events).await;
    assert_eq!(first.data, "\"look-again\"");
    assign(&office, "2.0.0").await;
    let second = next(&mut events).await;
    let id = |e: &SseEvent| e.id.as_ref().unwrap().parse::<i64>().unwrap();
    assert!(id(&second) > id(&first));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_missed_is_replayed_and_what_was_seen_is_not() {
    let mut office = Office::start().await;
    published(&office, "kiosk", "2.0.0", "k1").await;
    published(&office, "kiosk", "3.0.0", "k1").await;
    let branch = office.branch("north", "k1", &["till-1"]).await;
    let mut events = stream(&branch.client, None).await;
    next(&mut events).await;
    assign(&office, "2.0.0").await;
    let seen = next(&mut events).await.id.unwrap();
    drop(events);
    let mut events = stream(&branch.client, Some(&seen)).await;
    assert!(is_silent(&mut events).await);
    drop(events);
    assign(&office, "3.0.0").await;
    // Also over a restart: nothing of it lives in memory.
    office.stop().await;
    office.resume().await;
    let client = office.as_branch(&branch);
    let replayed = next(&mut stream(&client, Some(&seen)).await).await;
    assert!(replayed.id.unwrap().parse::<i64>().unwrap() > seen.parse::<i64>().unwrap());
    // An id that this database never gave, as after a restore: told to look at once.
    next(&mut stream(&client, Some("999999")).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_branchs_plan_wakes_nobody_here() {
    let office = Office::start().await;
    published(&office, "kiosk", "2.0.0", "k1").await;
    office.branch("north", "k1", &["till-1"]).await;
    let east = office.branch("east", "k1", &["till-1"]).await;
    let mut events = stream(&east.client, None).await;
    next(&mut events).await;
    assign(&office, "2.0.0").await;
    assert!(is_silent(&mut events).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_of_one_branch_are_bounded_and_shutdown_ends_them() {
    let mut office = Office::start().await;
    let branch = office.branch("north", "k1", &[]).await;
    let mut open = Vec::new();
    for _ in 0..8 {
        open.push(stream(&branch.client, None).await);
    }
    let ninth = branch.client.events("/v1/events", None, PATIENCE).await.map(|_| ());
    assert_eq!(refusal(ninth), Code::TooManyStreams);
    assert_eq!(
        refusal(office.machine(None).events("/v1/events", None, PATIENCE).await.map(|_| ())),
        Code::Unauthenticated
    );
    let mut first = open.remove(0);
    next(&mut first).await;
    office.stop().await;
    assert_eq!(first.next().await.unwrap(), None);
}
