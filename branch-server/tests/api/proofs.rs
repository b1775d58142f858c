//! States that terminals must have signed: a terminal's false ones go no further, and keep no other terminal waiting.

use branch_server::reports::relay::deliver;
use fleet_types::UpdateState;
use reqwest::Method;
use serde_json::json;
use trust::SigningKey;
use trust::certificates::{TlsKey, request_key};
use uuid::Uuid;
use wire::Code;
use wire::v1::paths;
use wire::v1::reports::{Acknowledged, Batch, Report};

use crate::reports::{batch, moved, running, send, send_as_is, sign};
use crate::support::{ADMIN, Branch, JOIN, PATIENCE, Till, VIEWER, assert_refused, name};

async fn queued(branch: &Branch) -> i64 {
    let client = branch.app.pool.get().await.unwrap();
    client.query_one("select count(*) from relay_queue", &[]).await.unwrap().get(0)
}

async fn answered(branch: &Branch, till: &Till, batch: &Batch) -> Acknowledged {
    let response = send_as_is(branch, till, batch).await;
    assert_eq!(response.status(), 200, "{}", response.text().await.unwrap());
    response.json().await.unwrap()
}

fn with_proof(proof: Option<&str>, report: &Report) -> Report {
    let mut report = report.clone();
    let Report::Update { update, .. } = &mut report else { unreachable!() };
    update.proof = proof.map(str::to_owned);
    report
}

#[tokio::test(flavor = "multi_thread")]
async fn unsigned_state_is_named_not_queued_and_the_rest_is_taken() {
    use UpdateState::{Assigned, Confirmed, Fetching};
    let branch = Branch::enrolled().await;
    let till = branch.enrol("till-1").await;
    let before = queued(&branch).await;
    let confirmed = moved("till-1", Some(Fetching), Confirmed, 10);
    let (mut by_another, mut genuine) = (confirmed.clone(), moved("till-1", None, Assigned, 0));
    sign(&mut by_another, &SigningKey::generate().unwrap());
    sign(&mut genuine, &branch.signer("till-1"));
    let Report::Update { update, .. } = &genuine else { unreachable!() };
    let of_another_state = with_proof(update.proof.as_deref(), &confirmed);
    let false_ones =
        [with_proof(None, &confirmed), with_proof(Some(&"00".repeat(64)), &confirmed), by_another, of_another_state];
    let reports = [&[running("till-1")][..], &false_ones, &[genuine]].concat();
    let epoch = Uuid::new_v4();
    let sent = batch(epoch, 1, reports);
    let answer = answered(&branch, &till, &sent).await;
    let named: Vec<_> = answer.not_taken.iter().map(|refused| (refused.seq, refused.code)).collect();
    assert_eq!((answer.through, named), (6, (2..=5).map(|seq| (seq, Code::ReportNotProven)).collect()));
    assert!(answer.not_taken[0].text.contains("till-1"), "{answer:?}");
    assert_eq!(queued(&branch).await, before + 2, "what runs, and the genuine state");
    let list = branch.get(branch.operators, "/v1/terminals", Some(VIEWER)).await;
    assert_eq!(list.json::<serde_json::Value>().await.unwrap()[0]["update"]["state"], "assigned");
    // A lost answer is asked for again, and nothing of it counts twice.
    assert_eq!(answered(&branch, &till, &sent).await.through, 6);
    assert_eq!(queued(&branch).await, before + 2);
}

/// The attack: endless states with a proof of zeros, in batches and from every connection.
#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_unsigned_states_cost_nothing_and_delay_no_other_terminal() {
    let branch = Branch::enrolled().await;
    let (hostile, honest) = (branch.enrol("till-1").await, branch.enrol("till-2").await);
    let before = queued(&branch).await;
    let state = with_proof(Some(&"00".repeat(64)), &moved("till-1", None, UpdateState::Confirmed, 10));
    let epoch = Uuid::new_v4();
    // One less than what makes it wait, then a full batch: it waits for minutes.
    let first = batch(epoch, 1, vec![state.clone(); 199]);
    for (batch, states) in [(&first, 199), (&batch(epoch, 200, vec![state.clone(); 200]), 200)] {
        assert_eq!(answered(&branch, &hostile, batch).await.not_taken.len(), states);
    }
    let transactions = async || -> i64 {
        let client = branch.app.pool.get().await.unwrap();
        client.query_one("select max(through) from report_epochs where terminal = 'till-1'", &[]).await.unwrap().get(0)
    };
    // This server's row is held: a refusal neither waits for it nor takes part of the database.
    let mut client = branch.app.pool.get().await.unwrap();
    let held = client.transaction().await.unwrap();
    held.execute("select 1 from site for update", &[]).await.unwrap();
    let flood = (0..50).map(async |_| {
        let more = batch(epoch, 400, vec![state.clone(); 200]);
        assert_refused(send_as_is(&branch, &hostile, &more).await, Code::TooMany).await;
    });
    tokio::time::timeout(PATIENCE, futures_util::future::join_all(flood)).await.unwrap();
    held.commit().await.unwrap();
    drop(client);
    let flood = (0..8).map(|_| send_as_is(&branch, &hostile, &first));
    let report = batch(Uuid::new_v4(), 1, vec![moved("till-2", None, UpdateState::Assigned, 0)]);
    let (_, honest) = tokio::join!(futures_util::future::join_all(flood), send(&branch, &honest, &report));
    assert_eq!(honest.json::<Acknowledged>().await.unwrap(), Acknowledged::all(1));
    assert_eq!((queued(&branch).await, transactions().await), (before + 1, 399));
}

/// Head office holds what comes under a key until an operator accepts it there; the branch server has certified it already.
#[tokio::test(flavor = "multi_thread")]
async fn state_under_a_key_that_waits_at_head_office_is_relayed() {
    let branch = Branch::enrolled().await;
    let old = branch.enrol("till-1").await;
    let signer = SigningKey::generate().unwrap();
    let new = TlsKey::from_signing_key(&signer).unwrap();
    let digest = request_key(&new.request().unwrap()).unwrap();
    let allow = paths::terminal_allow(&name("till-1"));
    let allowed = branch.send(Method::POST, &allow, Some(ADMIN), json!({ "key": digest }).to_string()).await;
    assert_eq!(allowed.status(), 200);
    let answer = branch.try_enrol(Some(JOIN), "till-1", &new).await;
    let till = branch.till(new, answer.json().await.unwrap());
    let (assigned, fetching) = (UpdateState::Assigned, UpdateState::Fetching);
    let (mut by_the_old_key, mut state) =
        (moved("till-1", None, assigned, 0), moved("till-1", Some(assigned), fetching, 0));
    sign(&mut by_the_old_key, &branch.signer("till-1"));
    sign(&mut state, &signer);
    let sent = batch(Uuid::new_v4(), 1, vec![by_the_old_key, state.clone()]);
    let answer = answered(&branch, &till, &sent).await;
    assert_eq!((answer.through, answer.not_taken.len(), answer.not_taken[0].seq), (2, 1, 1));
    assert_refused(send_as_is(&branch, &old, &sent).await, Code::OtherKey).await;
    deliver(&branch.app.pool, &*branch.app.head_office, 200, branch.app.clock.now()).await.unwrap();
    let counted = branch.head_office.with(|s| s.counted.clone());
    assert_eq!(counted.last().unwrap().report, state);
    let key = signer.public().to_string();
    let tells = |report: &Report| matches!(report, Report::TerminalSeen { key: Some(told), .. } if *told == key);
    assert!(counted.iter().any(|numbered| tells(&numbered.report)), "head office learns of the key before the state");
}
