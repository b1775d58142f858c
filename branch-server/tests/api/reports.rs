//! POST /v1/reports

use branch_server::reports::proofs::REPORTS;
use fleet_types::{Slot, UpdateState, Version};
use reqwest::StatusCode;
use serde_json::{Value, json};
use service_kit::{Clock, SystemClock};
use trust::SigningKey;
use uuid::Uuid;
use wire::Code;
use wire::v1::reports::{Acknowledged, Batch, MAX_BATCH, Numbered, Reason, Report, UpdateReport};

use crate::support::{Branch, Till, VIEWER, assert_refused, facts, name};

pub fn running(terminal: &str) -> Report {
    Report::Running { terminal: name(terminal), slot: Slot::A, version: Version::new(1, 0, 0) }
}

pub fn moved(terminal: &str, from: Option<UpdateState>, state: UpdateState, done: u64) -> Report {
    let update = UpdateReport {
        serial: 7,
        product: "till".parse().unwrap(),
        version: Version::new(2, 0, 0),
        payload: [2; 32].into(),
        from,
        state,
        segments_done: done,
        segments_total: 10,
        reason: None,
        proof: None,
        position: None,
        evidence: None,
    };
    Report::Update { terminal: name(terminal), update }
}

pub fn batch(epoch: Uuid, first: u64, reports: Vec<Report>) -> Batch {
    let at = SystemClock.now();
    let numbered = (first..).zip(reports).map(|(seq, report)| Numbered { seq, at, report });
    Batch { epoch, reports: numbered.collect() }
}

/// A terminal's reports; states that nothing signs yet are signed with its key, as the agent does.
pub async fn send(branch: &Branch, token: &Till, batch: &Batch) -> reqwest::Response {
    let mut batch = batch.clone();
    if let Ok(key) = SigningKey::from_pem(&token.leaf.key.to_pem()) {
        batch.reports.iter_mut().for_each(|numbered| sign(&mut numbered.report, &key));
    }
    send_as_is(branch, token, &batch).await
}

/// A terminal's reports, of which nothing is changed.
pub async fn send_as_is(branch: &Branch, token: &Till, batch: &Batch) -> reqwest::Response {
    branch.post("/v1/reports", Some(token), serde_json::to_string(batch).unwrap()).await
}

/// Signs a state that has no proof yet.
pub fn sign(report: &mut Report, key: &SigningKey) {
    if let Report::Update { terminal, update } = report {
        let statement = update.statement(&"north".parse().unwrap(), terminal);
        update.proof.get_or_insert_with(|| key.sign_text(&statement));
    }
}

async fn acknowledged(response: reqwest::Response) -> u64 {
    assert_eq!(response.status(), StatusCode::OK);
    response.json::<Acknowledged>().await.unwrap().through
}

async fn queued(branch: &Branch) -> i64 {
    let client = branch.app.pool.get().await.unwrap();
    client.query_one("select count(*) from relay_queue", &[]).await.unwrap().get(0)
}

async fn terminal(branch: &Branch) -> Value {
    let response = branch.get(branch.operators, "/v1/terminals", Some(VIEWER)).await;
    let list: Value = response.json().await.unwrap();
    list[0].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn reports_are_stored_shown_and_queued_for_head_office() {
    use UpdateState::{Assigned, Fetching};
    let branch = Branch::enrolled().await;
    let token = branch.enrol("till-1").await;
    let reports = vec![
        running("till-1"),
        moved("till-1", None, Assigned, 0),
        moved("till-1", Some(Assigned), Fetching, 0),
        moved("till-1", Some(Fetching), Fetching, 4),
    ];
    assert_eq!(acknowledged(send(&branch, &token, &batch(Uuid::new_v4(), 1, reports)).await).await, 4);
    let seen = terminal(&branch).await;
    assert_eq!((&seen["slot"], &seen["version"]), (&json!("A"), &json!("1.0.0")));
    assert_eq!((&seen["update"]["state"], &seen["update"]["segments_done"]), (&json!("fetching"), &json!(4)));
    let states: Vec<_> = seen["update"]["history"].as_array().unwrap().iter().map(|m| m["to"].clone()).collect();
    assert_eq!(states, ["assigned", "fetching"], "progress within a state is no move");
    // Enrolment, running, two moves; the progress was folded into its move.
    assert_eq!(queued(&branch).await, 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_kind_of_report_is_acknowledged_counted_and_skipped() {
    let branch = Branch::enrolled().await;
    let token = branch.enrol("till-1").await;
    let before = queued(&branch).await;
    let mut sent = serde_json::to_value(batch(Uuid::new_v4(), 1, vec![running("till-1"), running("till-1")])).unwrap();
    // As a newer terminal would report something that this version does not know.
    sent["reports"][0]["report"] = serde_json::json!({"kind": "fan-speed", "terminal": "till-1", "rpm": [1200, 900]});
    let response = branch.post("/v1/reports", Some(&token), sent.to_string()).await;
    assert_eq!(acknowledged(response).await, 2);
    assert_eq!(queued(&branch).await, before + 1, "the known report behind it is relayed");
    let metrics = branch.get(branch.operators, "/metrics", None).await.text().await.unwrap();
    for line in ["filial_branch_reports_unknown_total 1", "filial_branch_reports_stored_total 1"] {
        assert!(metrics.contains(line), "{line} is not in\n{metrics}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_batch_counts_once() {
    let branch = Branch::enrolled().await;
    let token = branch.enrol("till-1").await;
    let (epoch, before) = (Uuid::new_v4(), queued(&branch).await);
    let one = batch(epoch, 1, vec![running("till-1"), moved("till-1", None, UpdateState::Assigned, 0)]);
    for _ in 0..3 {
        assert_eq!(acknowledged(send(&branch, &token, &one).await).await, 2);
    }
    assert_eq!(queued(&branch).await, before + 2);
    // One that overlaps brings only what is new.
    let fetching = moved("till-1", Some(UpdateState::Assigned), UpdateState::Fetching, 0);
    let mut more = batch(epoch, 3, vec![fetching]);
    more.reports.insert(0, one.reports[1].clone());
    assert_eq!(acknowledged(send(&branch, &token, &more).await).await, 3);
    assert_eq!(queued(&branch).await, before + 3);
    assert_eq!(acknowledged(send(&branch, &token, &batch(epoch, 1, Vec::new())).await).await, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn simultaneous_repetitions_count_once() {
    let branch = Branch::enrolled().await;
    let token = branch.enrol("till-1").await;
    let before = queued(&branch).await;
    let one = batch(Uuid::new_v4(), 1, vec![running("till-1")]);
    let (a, b, c) = tokio::join!(send(&branch, &token, &one), send(&branch, &token, &one), send(&branch, &token, &one));
    for response in [a, b, c] {
        assert_eq!(acknowledged(response).await, 1);
    }
    assert_eq!(queued(&branch).await, before + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gap_is_refused_and_nothing_of_it_stored() {
    let branch = Branch::enrolled().await;
    let token = branch.enrol("till-1").await;
    let before = queued(&branch).await;
    let epoch = Uuid::new_v4();
    let late = send(&branch, &token, &batch(epoch, 3, vec![running("till-1")])).await;
    assert_refused(late, Code::ReportOutOfOrder).await;
    assert_eq!(queued(&branch).await, before);
    assert_eq!(terminal(&branch).await["slot"], Value::Null);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_epoch_begins_again_and_a_late_request_of_the_old_one_counts_no_more() {
    let branch = Branch::enrolled().await;
    let token = branch.enrol("till-1").await;
    let (old, new) = (Uuid::new_v4(), Uuid::new_v4());
    let first = batch(old, 1, vec![running("till-1")]);
    assert_eq!(acknowledged(send(&branch, &token, &first).await).await, 1);
    let second = batch(new, 1, vec![moved("till-1", None, UpdateState::Assigned, 0)]);
    assert_eq!(acknowledged(send(&branch, &token, &second).await).await, 1);
    let before = queued(&branch).await;
    assert_eq!(acknowledged(send(&branch, &token, &first).await).await, 1);
    assert_eq!(queued(&branch).await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_numbering_outlives_enrolling_again() {
    let branch = Branch::enrolled().await;
    let token = branch.enrol("till-1").await;
    let one = batch(Uuid::new_v4(), 1, vec![running("till-1")]);
    assert_eq!(acknowledged(send(&branch, &token, &one).await).await, 1);
    let (token, before) = (branch.enrol("till-1").await, queued(&branch).await);
    assert_eq!(acknowledged(send(&branch, &token, &one).await).await, 1);
    assert_eq!(queued(&branch).await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_terminal_may_only_report_about_itself() {
    let branch = Branch::enrolled().await;
    let token = branch.enrol("till-1").await;
    branch.enrol("till-2").await;
    for other in [
        running("till-2"),
        moved("till-2", None, UpdateState::Confirmed, 10),
        Report::TerminalSeen { facts: facts("till-2"), key: None },
    ] {
        let response = send(&branch, &token, &batch(Uuid::new_v4(), 1, vec![other])).await;
        assert_refused(response, Code::NotYourself).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn changed_facts_are_taken_and_passed_on() {
    let branch = Branch::enrolled().await;
    let token = branch.enrol("till-1").await;
    let mut new = facts("till-1");
    new.agent_version = "0.2.0".into();
    let report = batch(Uuid::new_v4(), 1, vec![Report::TerminalSeen { facts: new.clone(), key: None }]);
    assert_eq!(acknowledged(send(&branch, &token, &report).await).await, 1);
    assert_eq!(terminal(&branch).await["agent_version"], "0.2.0");
    branch_server::reports::relay::deliver(&branch.app.pool, &*branch.app.head_office, 200, branch.app.clock.now())
        .await
        .unwrap();
    let counted = branch.head_office.with(|s| s.counted.clone());
    let key = Some(branch.signer("till-1").public().to_string());
    assert_eq!(counted.last().unwrap().report, Report::TerminalSeen { facts: new, key });
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_and_bad_input_are_refused() {
    let branch = Branch::enrolled().await;
    let token = branch.enrol("till-1").await;
    let one = serde_json::to_string(&batch(Uuid::new_v4(), 1, vec![running("till-1")])).unwrap();
    assert_refused(branch.post("/v1/reports", None, one).await, Code::Unauthenticated).await;
    assert_refused(branch.post("/v1/reports", Some(&token), "[").await, Code::NotJson).await;
    let many = batch(Uuid::new_v4(), 1, vec![running("till-1"); 201]);
    assert_refused(send(&branch, &token, &many).await, Code::BatchTooLong).await;
    let mut bad = moved("till-1", None, UpdateState::Failed, 0);
    let Report::Update { update, .. } = &mut bad else { unreachable!() };
    update.reason = Some(Reason::new("x'; drop table terminals; --", "t"));
    assert_refused(send(&branch, &token, &batch(Uuid::new_v4(), 1, vec![bad])).await, Code::BadField).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn text_of_a_terminal_is_text_and_no_sql() {
    let branch = Branch::enrolled().await;
    let token = branch.enrol("till-1").await;
    let text = "'); delete from terminals; -- \\ \" $1 \n";
    let mut report = moved("till-1", None, UpdateState::Failed, 0);
    let Report::Update { update, .. } = &mut report else { unreachable!() };
    update.reason = Some(Reason::new("unhealthy", text));
    assert_eq!(acknowledged(send(&branch, &token, &batch(Uuid::new_v4(), 1, vec![report])).await).await, 1);
    // Only the line's end is not kept: a reason is one line.
    assert_eq!(terminal(&branch).await["update"]["reason"]["text"], text.replace('\n', " "));
}

/// Its peers are invented, each with another address, so that nothing folds.
#[tokio::test(flavor = "multi_thread")]
async fn a_terminal_fills_its_own_part_of_the_queue_and_no_other() {
    let branch = Branch::enrolled().await;
    let (noisy, honest) = (branch.enrol("till-1").await, branch.enrol("till-2").await);
    let bad = |n: u32| Report::BadPeer {
        terminal: Some(name("till-1")),
        artifact: [1; 32].into(),
        addresses: vec![std::net::Ipv4Addr::from(0x0a00_0000 + n).into()],
        wasted_bytes: 1,
        certain: false,
    };
    let (epoch, before) = (Uuid::new_v4(), queued(&branch).await);
    for n in 0..5 {
        let reports = (n * 199..(n + 1) * 199).map(bad).collect();
        let sent = send(&branch, &noisy, &batch(epoch, u64::from(n) * 199 + 1, reports)).await;
        assert_eq!(acknowledged(sent).await, u64::from(n + 1) * 199);
    }
    let more = batch(epoch, 996, (5000..5010).map(bad).collect());
    assert_refused(send(&branch, &noisy, &more).await, Code::TooMany).await;
    assert_eq!(acknowledged(send(&branch, &honest, &batch(Uuid::new_v4(), 1, vec![running("till-2")])).await).await, 1);
    assert_eq!(queued(&branch).await - before, 996);
}

/// The attack: a full batch again and again, of which nothing is new, and one that is refused.
#[tokio::test(flavor = "multi_thread")]
async fn repeated_and_refused_batches_count_as_new_ones() {
    let branch = Branch::enrolled().await;
    for (terminal, used_twice) in [("till-1", false), ("till-2", true)] {
        let till = branch.enrol(terminal).await;
        let mut full = batch(Uuid::new_v4(), 1, vec![running(terminal); MAX_BATCH]);
        assert_eq!(acknowledged(send(&branch, &till, &full).await).await, MAX_BATCH as u64);
        if used_twice {
            full.reports[MAX_BATCH - 1].report = moved(terminal, None, UpdateState::Assigned, 0);
        }
        let mut admitted = 1;
        loop {
            let answer = send(&branch, &till, &full).await;
            if answer.status() == StatusCode::TOO_MANY_REQUESTS {
                break;
            }
            assert_eq!(answer.status().is_success(), !used_twice);
            admitted += 1;
            // Some are forgiven while this test takes its time.
            assert!(admitted < 3 * REPORTS as usize / MAX_BATCH, "{admitted} batches were let in");
        }
    }
}

/// This server's row is held, as by a transaction that takes long: batches that wait take no connection from anybody else.
#[tokio::test(flavor = "multi_thread")]
async fn batches_that_wait_take_no_connection_of_the_database() {
    let branch = Branch::enrolled().await;
    let token = branch.enrol("till-1").await;
    let mut client = branch.app.pool.get().await.unwrap();
    let held = client.transaction().await.unwrap();
    held.execute("select 1 from site for update", &[]).await.unwrap();
    let waiting = batch(Uuid::new_v4(), 1, vec![running("till-1")]);
    let posts = (0..20).map(|_| send(&branch, &token, &waiting));
    let posts = futures_util::future::join_all(posts);
    let others = async {
        for _ in 0..20 {
            assert_eq!(branch.get(branch.operators, "/v1/terminals", Some(VIEWER)).await.status(), StatusCode::OK);
        }
        held.commit().await.unwrap();
    };
    let (posts, ()) = tokio::join!(posts, others);
    assert!(posts.iter().all(|answer| answer.status() == StatusCode::OK));
}
