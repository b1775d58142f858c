//! GET /v1/events

use futures_util::StreamExt;
use reqwest::StatusCode;

use crate::plans::plan;
use crate::support::{Branch, PATIENCE};

/// Reads the stream until it holds `what`.
async fn read_until(response: reqwest::Response, what: &str) -> String {
    let mut text = String::new();
    let mut chunks = response.bytes_stream();
    let reading = async {
        while let Some(chunk) = chunks.next().await {
            text.push_str(&String::from_utf8_lossy(&chunk.unwrap()));
            if text.contains(what) {
                return;
            }
        }
    };
    tokio::time::timeout(PATIENCE, reading).await.unwrap();
    assert!(text.contains(what), "{text}");
    text
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_plan_calls_the_terminals() {
    let branch = Branch::enrolled().await;
    let token = branch.enrol("till-1").await;
    let stream = branch.ask("/v1/events", &token).await;
    assert_eq!(stream.status(), StatusCode::OK);
    assert_eq!(stream.headers()["content-type"], "text/event-stream");
    branch.head_office.offer(&plan(7));
    branch.app.poll.once().await.unwrap();
    read_until(stream, "data: \"look-again\"\n").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_missed_is_called_again_and_what_was_heard_is_not() {
    let branch = Branch::enrolled().await;
    let token = branch.enrol("till-1").await;
    for serial in [7, 8] {
        branch.head_office.offer(&plan(serial));
        branch.app.poll.once().await.unwrap();
    }
    let with_id = async |id: &str| {
        let request = token.http.get(format!("https://{}/v1/events", branch.machines));
        request.header("Last-Event-ID", id).send().await.unwrap()
    };
    // Two calls were missed: they come as one, with the number of the last.
    let text = read_until(with_id("0").await, "look-again").await;
    assert!(text.contains("id: 2\n") && !text.contains("id: 1\n"), "{text}");
    // A number from another life of the database is ahead of ours: everything may have been missed.
    read_until(with_id("999").await, "look-again").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_third_stream_ends_the_oldest_of_the_same_terminal_only() {
    let branch = Branch::enrolled().await;
    let (token, other) = (branch.enrol("till-1").await, branch.enrol("till-2").await);
    let others = branch.ask("/v1/events", &other).await;
    let first = branch.ask("/v1/events", &token).await;
    let _second = branch.ask("/v1/events", &token).await;
    let _third = branch.ask("/v1/events", &token).await;
    let ended = tokio::time::timeout(PATIENCE, first.text()).await.unwrap().unwrap();
    assert!(!ended.contains("look-again"), "{ended}");
    assert_eq!(branch.app.streams.count(), 3);
    branch.head_office.offer(&plan(7));
    branch.app.poll.once().await.unwrap();
    read_until(others, "look-again").await;
}
