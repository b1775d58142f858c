//! A terminal whose numbering went back, or that is there twice.

use fleet_types::UpdateState;
use serde_json::Value;
use uuid::Uuid;
use wire::Code;
use wire::v1::reports::{Acknowledged, Batch, Numbered, Report};

use crate::reports::{batch, moved, running, send};
use crate::support::{Branch, Till, VIEWER, assert_refused, name};

async fn acknowledged(branch: &Branch, till: &Till, epoch: Uuid, reports: Vec<Numbered>) -> u64 {
    let response = send(branch, till, &Batch { epoch, reports }).await;
    assert_eq!(response.status(), 200);
    response.json::<Acknowledged>().await.unwrap().through
}

async fn update(branch: &Branch) -> Value {
    let list: Value = branch.get(branch.operators, "/v1/terminals", Some(VIEWER)).await.json().await.unwrap();
    list[0]["update"].clone()
}

/// What waits for head office and tells of numbers that were used twice.
async fn told(branch: &Branch) -> Vec<Report> {
    let client = branch.app.pool.get().await.unwrap();
    let rows = client.query("select report from relay_queue order by seq", &[]).await.unwrap();
    let reports = rows.iter().map(|row| serde_json::from_str(row.get("report")).unwrap());
    reports.filter(|report| matches!(report, Report::NumbersReused { .. })).collect()
}

async fn alerts(branch: &Branch) -> Vec<(String, String)> {
    let status = branch.status().await;
    let found = status["alerts"].as_array().cloned().unwrap_or_default();
    let param = |alert: &Value, name: &str| alert["params"][name].as_str().unwrap_or_default().to_owned();
    found.iter().map(|alert| (param(alert, "machine"), param(alert, "times"))).collect()
}

/// Its data was restored from a copy: what it says next has numbers that are known.
#[tokio::test(flavor = "multi_thread")]
async fn restored_terminal_is_refused_until_it_numbers_again() {
    use UpdateState::{Assigned, Confirmed, Fetching};
    let branch = Branch::enrolled().await;
    let till = branch.enrol("till-1").await;
    let epoch = Uuid::new_v4();
    let states = [(None, Assigned), (Some(Assigned), Fetching), (Some(Fetching), Confirmed)];
    let sent = batch(epoch, 1, states.map(|(from, to)| moved("till-1", from, to, 0)).to_vec()).reports;
    assert_eq!(acknowledged(&branch, &till, epoch, sent.clone()).await, 3);
    assert_eq!(alerts(&branch).await, []);

    // The copy was made when number 2 waited; number 3 then says that the terminal runs.
    let mut waits = vec![sent[1].clone()];
    waits.extend(batch(epoch, 3, vec![running("till-1")]).reports);
    let again = Batch { epoch, reports: waits.clone() };
    assert_refused(send(&branch, &till, &again).await, Code::NumberReused).await;
    assert_refused(send(&branch, &till, &again).await, Code::NumberReused).await;
    assert_eq!(alerts(&branch).await, [("till-1".to_owned(), "2".to_owned())]);
    let tells = Report::NumbersReused { terminal: Some(name("till-1")), times: 1 };
    assert_eq!(told(&branch).await, [tells], "head office is told once an hour at most");

    waits.iter_mut().zip(1..).for_each(|(report, seq)| report.seq = seq);
    assert_eq!(acknowledged(&branch, &till, Uuid::new_v4(), waits).await, 2);
    let stands = update(&branch).await;
    assert_eq!(stands["state"], "confirmed", "what was stored before its data went back is not news: {stands}");
}

/// A terminal that noticed by itself says so.
#[tokio::test(flavor = "multi_thread")]
async fn terminal_that_noticed_first_is_shown_and_head_office_is_told() {
    let branch = Branch::enrolled().await;
    let (till, other) = (branch.enrol("till-1").await, branch.enrol("till-2").await);
    let tells = Report::NumbersReused { terminal: Some(name("till-1")), times: 1 };
    let one = batch(Uuid::new_v4(), 1, vec![tells.clone()]);
    assert_refused(send(&branch, &other, &one).await, Code::NotYourself).await;
    assert_eq!(send(&branch, &till, &one).await.status(), 200);
    assert_eq!(alerts(&branch).await, [("till-1".to_owned(), "1".to_owned())]);
    assert_eq!(told(&branch).await, [tells]);
}

/// Two terminals from copies of one disk take turns: both are heard, an operator learns of it, and no table fills.
#[tokio::test(flavor = "multi_thread")]
async fn two_clones_are_both_heard_and_counted() {
    let branch = Branch::enrolled().await;
    let till = branch.enrol("till-1").await;
    let first = Uuid::new_v4();
    assert_eq!(acknowledged(&branch, &till, first, batch(first, 1, vec![running("till-1")]).reports).await, 1);
    let (mut epochs, mut next) = ([first, first], [2, 2]);
    for round in 0..30_usize {
        let clone = round % 2;
        let mut report = batch(first, next[clone], vec![running("till-1")]);
        report.epoch = epochs[clone];
        if round > 0 {
            assert_refused(send(&branch, &till, &report).await, Code::NumberReused).await;
            epochs[clone] = Uuid::new_v4();
            report.reports[0].seq = 1;
        }
        let seq = report.reports[0].seq;
        assert_eq!(acknowledged(&branch, &till, epochs[clone], report.reports).await, seq);
        next[clone] = seq + 1;
    }
    assert_eq!(alerts(&branch).await, [("till-1".to_owned(), "29".to_owned())]);
    let client = branch.app.pool.get().await.unwrap();
    let count: i64 = client.query_one("select count(*) from report_epochs", &[]).await.unwrap().get(0);
    assert_eq!((count, told(&branch).await.len()), (8, 1));
}
