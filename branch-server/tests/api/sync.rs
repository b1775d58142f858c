//! GET /v1/sync

use wire::Code;
use wire::v1::sync::Sync;

use crate::plans::plan;
use crate::support::{Branch, VIEWER, assert_refused};

#[tokio::test(flavor = "multi_thread")]
async fn before_the_first_plan_there_is_none() {
    let branch = Branch::enrolled().await;
    let token = branch.enrol("till-1").await;
    let sync: Sync = branch.ask("/v1/sync", &token).await.json().await.unwrap();
    let metadata = branch.head_office.with(|s| s.fleet.version());
    assert!(metadata.is_some());
    assert_eq!(sync, Sync { plan: None, available: Vec::new(), metadata, denied: None });
}

#[tokio::test(flavor = "multi_thread")]
async fn the_plan_is_handed_on_verbatim_with_its_signatures() {
    let branch = Branch::enrolled().await;
    let token = branch.enrol("till-1").await;
    let mut envelope = branch.head_office.offer(&plan(7));
    // A further signature, by a key that nobody here knows, is nobody's business and handed on too.
    envelope.signatures.push(wire::Signature { keyid: "k".into(), sig: "c2ln".into() });
    branch.head_office.with(|s| s.plan = Some(envelope.clone()));
    branch.app.poll.once().await.unwrap();
    let sync: Sync = branch.ask("/v1/sync", &token).await.json().await.unwrap();
    assert_eq!(sync.plan, Some(envelope));
    assert_eq!(sync.available, [], "nothing of it is here yet");
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_and_people_are_turned_away() {
    let branch = Branch::enrolled().await;
    for path in ["/v1/sync", "/v1/events"] {
        assert_refused(branch.get(branch.machines, path, None).await, Code::Unauthenticated).await;
        assert_refused(branch.get(branch.machines, path, Some(VIEWER)).await, Code::Unauthenticated).await;
    }
    assert_refused(branch.get(branch.machines, "/v1/status", None).await, Code::RouteMissing).await;
    let token = branch.enrol("till-1").await;
    assert_refused(branch.post("/v1/sync", Some(&token), "{}").await, Code::MethodNotAllowed).await;
}
