//! Reports that a terminal must have signed: a branch server cannot speak for it.

use fleet_types::UpdateState;
use trust::SigningKey;
use uuid::Uuid;
use wire::Code;
use wire::v1::fleet::{AcceptKey, Branch, Terminal};
use wire::v1::reports::{Acknowledged, Batch, Numbered, Report, UpdateReport};

use super::reports::{seen, seen_with, send, signed, till, update};
use crate::api::refusal;
use crate::support::Office;

/// The attack of the design, by its name: a branch server in other hands says that a terminal is confirmed.
#[tokio::test(flavor = "multi_thread")]
async fn forged_confirmation_by_a_branch() {
    use UpdateState::{Assigned, Confirmed, Fetching};
    let office = Office::start().await;
    let branch = office.branch("north", "k1", &[]).await;
    let epoch = Uuid::new_v4();
    send(&branch, epoch, vec![seen(1), update(2, None, Assigned, 0), update(3, Some(Assigned), Fetching, 1)]).await;
    let refused = async |report: Numbered| {
        let batch = Batch { epoch, reports: vec![report] };
        let refused = branch.client.post::<_, Acknowledged>("/v1/reports", &batch).await;
        assert_eq!(refusal(refused), Code::ReportNotProven);
    };
    let genuine = update(4, Some(Fetching), Confirmed, 10);
    let with = |edit: &dyn Fn(&mut UpdateReport)| {
        let mut forged = genuine.clone();
        let Report::Update { update, .. } = &mut forged.report else { unreachable!() };
        edit(update);
        forged
    };
    let Report::Update { update: fetching, .. } = update(3, Some(Assigned), Fetching, 1).report else { unreachable!() };
    for forged in [
        with(&|u| u.proof = None),
        with(&|u| u.proof = Some("00".repeat(64))),
        // What the terminal did sign, of another state, serial, version and payload.
        with(&|u| u.proof.clone_from(&fetching.proof)),
        with(&|u| u.serial += 1),
        with(&|u| u.version = "2.0.1".parse().unwrap()),
        with(&|u| u.payload = service_kit::token::hash("another")),
        // The branch server's own key, which it may say is the terminal's: that waits for an operator.
        signed(genuine.clone(), &SigningKey::generate().unwrap()),
    ] {
        refused(forged).await;
    }
    let endless = Batch { epoch, reports: vec![with(&|u| u.proof = Some("x".repeat(100_000)))] };
    assert_eq!(refusal(branch.client.post::<_, Acknowledged>("/v1/reports", &endless).await), Code::BadField);
    let thief = SigningKey::generate().unwrap();
    send(&branch, epoch, vec![seen_with(4, &thief)]).await;
    refused(signed(update(5, Some(Fetching), Confirmed, 10), &thief)).await;
    let shown = async || office.admin().get::<Terminal>("/v1/terminals/north/till-1").await.unwrap();
    let terminal = shown().await;
    assert_eq!(terminal.update.unwrap().state, Fetching);
    assert_eq!(
        (terminal.key.unwrap(), terminal.asked_key.unwrap()),
        (till().public().to_string(), thief.public().to_string())
    );
    assert_eq!(office.admin().get::<Branch>("/v1/branches/north").await.unwrap().confirmed, 0);
    // What is honest goes on.
    send(&branch, epoch, vec![update(5, Some(Fetching), Confirmed, 10)]).await;
    assert_eq!(shown().await.update.unwrap().state, Confirmed);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_terminals_new_key_counts_once_an_operator_accepts_it() {
    let office = Office::start().await;
    let branch = office.branch("north", "k1", &[]).await;
    let (epoch, new) = (Uuid::new_v4(), SigningKey::generate().unwrap());
    send(&branch, epoch, vec![seen(1), seen_with(2, &new)]).await;
    let key = new.public().to_string();
    let accept = async |key: String| {
        let body = AcceptKey { key, reason: Some("a new disk".into()) };
        office.admin().post::<_, Terminal>("/v1/terminals/north/till-1/key", &body).await
    };
    assert_eq!(refusal(accept("no key".into()).await), Code::BadField);
    assert_eq!(refusal(accept(till().public().to_string()).await), Code::WrongState);
    let terminal = accept(key.clone()).await.unwrap();
    assert_eq!((terminal.key, terminal.asked_key), (Some(key.clone()), None));
    assert_eq!(refusal(accept(key).await), Code::WrongState);
    let signed = signed(update(3, None, UpdateState::Assigned, 0), &new);
    assert_eq!(send(&branch, epoch, vec![signed]).await.through, 3);
}
