//! What is left of a failed boot passes through a branch server as it is, and fills neither its queue nor a request.

use branch_server::reports::relay::{Delivery, deliver, queue};
use fleet_types::{Slot, UpdateState};
use serde_json::{Value, json};
use service_kit::database::{begin, commit, connection};
use service_kit::{Clock as _, SystemClock};
use uuid::Uuid;
use wire::Code;
use wire::v1::evidence::{BootEvidence, JOURNAL, MAX_LINES, Tail, Word};
use wire::v1::reports::{Numbered, Report, UpdateReport};

use crate::reports::{batch, moved, send};
use crate::support::{Branch, Till, assert_refused};

fn evidence(log: &str) -> BootEvidence {
    let word = |text: &str| Word::try_from(text.to_owned()).ok();
    let (boot_id, source) = (word("7d6f0c55-41a8-4f0e-8f6a-90a1b2c3d4e5"), word(JOURNAL));
    let lines = Tail::of(log.as_bytes());
    BootEvidence { slot: Slot::B, tried: 2, boot_id, source, note: None, lines, proof: Some("0f".repeat(64)) }
}

fn rolled_back(terminal: &str, log: &str) -> Report {
    let mut report = moved(terminal, Some(UpdateState::Trying), UpdateState::RolledBack, 10);
    let Report::Update { update, .. } = &mut report else { unreachable!() };
    update.evidence = Some(evidence(log));
    report
}

fn trying(terminal: &str) -> Report {
    moved(terminal, None, UpdateState::Trying, 10)
}

async fn tell(branch: &Branch, till: &Till, reports: Vec<Report>) {
    let sent = send(branch, till, &batch(Uuid::new_v4(), 1, reports)).await;
    assert!(sent.status().is_success(), "{}", sent.status());
}

/// The updates that head office has counted.
fn counted(branch: &Branch) -> Vec<UpdateReport> {
    let update = |n: Numbered| match n.report {
        Report::Update { update, .. } => Some(update),
        _ => None,
    };
    branch.head_office.with(|s| s.counted.clone()).into_iter().filter_map(update).collect()
}

async fn deliver_all(branch: &Branch) -> usize {
    let mut requests = 0;
    while !matches!(
        deliver(&branch.app.pool, &*branch.app.head_office, 200, branch.app.clock.now()).await.unwrap(),
        Delivery::Nothing
    ) {
        requests += 1;
    }
    requests
}

#[tokio::test(flavor = "multi_thread")]
async fn evidence_reaches_head_office_untouched() {
    let branch = Branch::enrolled().await;
    let till = branch.enrol("till-1").await;
    let log = "it's \"quoted\", \\ and жёлтый\n'); drop table relay_queue; --";
    // Something of the same state after it folds into it, and takes nothing of it away.
    let mut again = moved("till-1", Some(UpdateState::RolledBack), UpdateState::RolledBack, 10);
    let Report::Update { update, .. } = &mut again else { unreachable!() };
    update.reason = Some(wire::v1::reports::Reason::new("fell-back", "newer words"));
    tell(&branch, &till, vec![trying("till-1"), rolled_back("till-1", log), again]).await;
    deliver_all(&branch).await;
    let told = counted(&branch);
    assert_eq!(told.len(), 2);
    assert_eq!(told[1].evidence, Some(evidence(log)));
    assert_eq!(told[1].reason.as_ref().map(|r| r.text.as_str()), Some("newer words"));
}

#[tokio::test(flavor = "multi_thread")]
async fn while_head_office_is_away_only_the_newest_log_of_a_terminal_waits() {
    let branch = Branch::enrolled().await;
    let (one, two) = (branch.enrol("till-1").await, branch.enrol("till-2").await);
    tell(&branch, &two, vec![trying("till-2"), rolled_back("till-2", "of the other terminal")]).await;
    for round in 0..5 {
        tell(&branch, &one, vec![trying("till-1"), rolled_back("till-1", &format!("round {round}"))]).await;
    }
    deliver_all(&branch).await;
    let ends: Vec<_> = counted(&branch).into_iter().filter(|u| u.state == UpdateState::RolledBack).collect();
    let logs: Vec<_> = ends.iter().map(|u| u.evidence.as_ref().map(|e| e.lines.lines().collect::<String>())).collect();
    let (other, last) = (Some("of the other terminal".to_owned()), Some("round 4".to_owned()));
    assert_eq!(logs, [other, None, None, None, None, last], "every state, and of each terminal one log");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_to_head_office_holds_what_it_may() {
    let branch = Branch::enrolled().await;
    let log = "\"\\".repeat(5000);
    let at = SystemClock.now();
    let mut client = connection(&branch.app.pool).await.unwrap();
    let tx = begin(&mut client).await.unwrap();
    for till in 0..40 {
        queue(&tx, at, &rolled_back(&format!("till-{till}"), &log)).await.unwrap();
    }
    commit(tx).await.unwrap();
    // 16 KiB each as JSON: 40 of them are more than one request takes.
    assert!(deliver_all(&branch).await > 1);
    assert_eq!(counted(&branch).iter().filter(|u| u.evidence == Some(evidence(&log))).count(), 40);
}

#[tokio::test(flavor = "multi_thread")]
async fn evidence_is_bounded_and_belongs_to_what_was_rolled_back() {
    let branch = Branch::enrolled().await;
    let token = branch.enrol("till-1").await;
    let with = |pointer: &str, value: Value| {
        let mut body = json!(batch(Uuid::new_v4(), 1, vec![rolled_back("till-1", "x")]));
        *body.pointer_mut(&format!("/reports/0/report/update{pointer}")).unwrap() = value;
        body.to_string()
    };
    for body in [
        with("/evidence/lines", json!(vec!["x"; MAX_LINES + 1])),
        with("/evidence/lines", json!(["\u{1b}[2J"])),
        with("/evidence/lines", json!(["x".repeat(9000)])),
        with("/evidence/boot_id", json!("x".repeat(65))),
        with("/evidence/tried", json!(100)),
        with("/evidence/proof", json!("0f")),
        with("/state", json!("confirmed")),
    ] {
        assert_refused(branch.post("/v1/reports", Some(&token), body).await, Code::BadField).await;
    }
}
