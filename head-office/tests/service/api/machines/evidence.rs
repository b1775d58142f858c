//! What is left of a failed boot: proven, kept with the update's history, shown of one terminal.

use fleet_types::{Slot, UpdateState};
use serde_json::{Value, json};
use trust::SigningKey;
use uuid::Uuid;
use wire::Code;
use wire::v1::evidence::{BootEvidence, JOURNAL, MAX_LINES, MAX_TAIL, Tail, Word};
use wire::v1::fleet::Terminal;
use wire::v1::reports::{Acknowledged, Batch, Numbered, Report};

use crate::api::machines::reports::{seen, send, signed, till, update};
use crate::api::refusal;
use crate::support::{Branch, Office, count};

fn word(text: &str) -> Option<Word> {
    Some(text.to_owned().try_into().unwrap())
}

fn of(log: &str) -> BootEvidence {
    let boot_id = word("7d6f0c55-41a8-4f0e-8f6a-90a1b2c3d4e5");
    let lines = Tail::of(log.as_bytes());
    BootEvidence { slot: Slot::B, tried: 2, boot_id, source: word(JOURNAL), note: None, lines, proof: None }
}

/// A report that the update was rolled back, with what was found, signed as the terminal does.
fn rolled_back(seq: u64, evidence: BootEvidence) -> Numbered {
    let mut report = update(seq, Some(UpdateState::Trying), UpdateState::RolledBack, 10);
    let Report::Update { update, .. } = &mut report.report else { unreachable!() };
    update.evidence = Some(evidence);
    prove(&mut report, till());
    report
}

fn prove(report: &mut Numbered, key: &SigningKey) {
    let Report::Update { terminal, update } = &mut report.report else { unreachable!() };
    let statement = update.evidence_statement(&"north".parse().unwrap(), terminal).unwrap();
    update.evidence.as_mut().unwrap().proof = Some(key.sign_text(&statement));
}

fn forged(report: &Numbered, edit: impl FnOnce(&mut BootEvidence)) -> Numbered {
    let mut forged = report.clone();
    let Report::Update { update, .. } = &mut forged.report else { unreachable!() };
    edit(update.evidence.as_mut().unwrap());
    forged
}

async fn shown(office: &Office) -> Option<BootEvidence> {
    let terminal: Terminal = office.admin().get("/v1/terminals/north/till-1").await.unwrap();
    terminal.update.unwrap().evidence
}

async fn refused(branch: &Branch, epoch: Uuid, report: Numbered) -> Code {
    let batch = Batch { epoch, reports: vec![report] };
    refusal(branch.client.post::<_, Acknowledged>("/v1/reports", &batch).await)
}

/// It is passed over and named; the next report has the next number.
async fn not_taken(branch: &Branch, epoch: Uuid, mut report: Numbered, seq: &mut u64) -> Code {
    *seq += 1;
    report.seq = *seq;
    let answer = send(branch, epoch, vec![report]).await;
    assert_eq!(answer.through, *seq);
    answer.not_taken[0].code
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_lines_of_a_failed_boot_are_kept_with_the_update_and_shown_of_one_terminal() {
    let office = Office::start().await;
    let branch = office.branch("north", "k1", &[]).await;
    let epoch = Uuid::new_v4();
    let report = rolled_back(3, of("mounting data\nfailed"));
    send(&branch, epoch, vec![seen(1), update(2, None, UpdateState::Trying, 10), report.clone()]).await;
    let Report::Update { update: told, .. } = report.report else { unreachable!() };
    assert_eq!(shown(&office).await, told.evidence, "with its signature, so that anybody can check it");
    let all: Vec<Value> = office.admin().get("/v1/terminals").await.unwrap();
    assert_eq!(all[0]["update"]["evidence"], Value::Null, "lists are short");
    let status: Value = office.admin().get("/v1/status").await.unwrap();
    assert_eq!(status["terminals"][0]["update"]["state"], "rolled-back");
    assert_eq!(status["terminals"][0]["update"]["evidence"], Value::Null);
    // The next update of the terminal has its own history.
    send(&branch, epoch, vec![update(4, None, UpdateState::Assigned, 0)]).await;
    assert_eq!(shown(&office).await, None);
    let document: Value = office.stranger().get("/openapi.json").await.unwrap();
    let schema = &document["components"]["schemas"]["TerminalUpdate"]["properties"]["evidence"];
    assert!(schema.to_string().contains("BootEvidence"), "{schema}");
    assert!(document["components"]["schemas"]["BootEvidence"]["properties"]["lines"].is_object());
}

/// A branch server in other hands can keep back what a terminal found, and change nothing of it.
#[tokio::test(flavor = "multi_thread")]
async fn evidence_can_be_withheld_by_a_branch_and_not_invented() {
    let office = Office::start().await;
    let branch = office.branch("north", "k1", &[]).await;
    let epoch = Uuid::new_v4();
    send(&branch, epoch, vec![seen(1), update(2, None, UpdateState::Trying, 10)]).await;
    let genuine = rolled_back(3, of("mounting data\nfailed"));
    let (thief, mut seq) = (SigningKey::generate().unwrap(), 2);
    let mut foreign = genuine.clone();
    prove(&mut foreign, &thief);
    for forgery in [
        forged(&genuine, |e| e.proof = None),
        forged(&genuine, |e| e.proof = Some("00".repeat(64))),
        forged(&genuine, |e| e.lines = Tail::of(b"mounting data\nall is well")),
        forged(&genuine, |e| e.lines = Tail::of(b"failed")),
        forged(&genuine, |e| e.tried = 1),
        forged(&genuine, |e| e.slot = Slot::A),
        forged(&genuine, |e| e.boot_id = None),
        forged(&genuine, |e| e.source = word("kernel")),
        forged(&genuine, |e| e.note = wire::v1::evidence::Sentence::of("nothing to see")),
        foreign,
    ] {
        assert_eq!(not_taken(&branch, epoch, forgery, &mut seq).await, Code::ReportNotProven);
        assert_eq!(shown(&office).await, None);
    }
    // The signature of the state stands for itself: a report without, as every older terminal sends it, is as good as ever.
    seq += 1;
    let withheld = signed(update(seq, Some(UpdateState::Trying), UpdateState::RolledBack, 10), till());
    assert_eq!(send(&branch, epoch, vec![withheld]).await, Acknowledged::all(seq));
    assert_eq!(shown(&office).await, None);
    // What belongs to another update's end does not pass for this one's.
    let mut other = genuine.clone();
    let Report::Update { update: told, .. } = &mut other.report else { unreachable!() };
    told.serial = 8;
    let other = signed(other, till());
    assert_eq!(not_taken(&branch, epoch, other, &mut seq).await, Code::ReportNotProven);
}

#[tokio::test(flavor = "multi_thread")]
async fn evidence_is_bounded_and_of_its_kind() {
    let office = Office::start().await;
    let branch = office.branch("north", "k1", &[]).await;
    let epoch = Uuid::new_v4();
    send(&branch, epoch, vec![seen(1), update(2, None, UpdateState::Trying, 10)]).await;
    let bad_fields = |pointer: &str, value: Value| {
        let mut batch = json!(Batch { epoch, reports: vec![rolled_back(3, of("x"))] });
        *batch.pointer_mut(&format!("/reports/0/report/update/evidence{pointer}")).unwrap() = value;
        batch
    };
    for batch in [
        bad_fields("/lines", json!(vec!["x"; MAX_LINES + 1])),
        bad_fields("/lines", json!(["x".repeat(MAX_TAIL)])),
        bad_fields("/lines", json!(["\u{1b}[2J"])),
        bad_fields("/lines", json!(["two\nlines"])),
        bad_fields("/boot_id", json!("../../etc")),
        bad_fields("/source", json!("\u{7}")),
        bad_fields("/tried", json!(-1)),
        bad_fields("/tried", json!(100)),
    ] {
        assert_eq!(refusal(branch.client.post::<_, Acknowledged>("/v1/reports", &batch).await), Code::BadField);
    }
    let mut confirmed = update(3, Some(UpdateState::Trying), UpdateState::Confirmed, 10);
    let Report::Update { update: told, .. } = &mut confirmed.report else { unreachable!() };
    told.evidence = Some(of("x"));
    prove(&mut confirmed, till());
    assert_eq!(refused(&branch, epoch, confirmed).await, Code::BadField, "only what was rolled back has failed");

    // The largest that is taken, and of one terminal's failed boots the newest few only.
    let most = "\"\\".repeat(5000);
    for round in 0..14 {
        let seq = 3 + 2 * round;
        let reports = vec![rolled_back(seq, of(&most)), update(seq + 1, None, UpdateState::Trying, 10)];
        send(&branch, epoch, reports).await;
    }
    assert_eq!(count(&office.pool().await, "SELECT count(*) FROM moves WHERE evidence IS NOT NULL").await, 10);
    assert_eq!(count(&office.pool().await, "SELECT count(*) FROM moves WHERE to_state = 'rolled-back'").await, 14);
}
