//! Reports that a terminal must have signed: a branch server cannot speak for it.

use fleet_types::UpdateState;
use reqwest::Method;
use service_kit::database::connection;
use trust::SigningKey;
use uuid::Uuid;
use wire::v1::fleet::{AcceptKey, Branch, Terminal};
use wire::v1::reports::{Acknowledged, Batch, Numbered, Position, Report, UpdateReport};
use wire::v1::status::Status;
use wire::{Code, ReasonCode};

use super::reports::{seen, seen_with, send, signed, till, update};
use crate::api::refusal;
use crate::support::{Office, begin};

/// The attack of the design, by its name: a branch server in other hands says that a terminal is confirmed.
#[tokio::test(flavor = "multi_thread")]
async fn forged_confirmation_by_a_branch() {
    use UpdateState::{Assigned, Confirmed, Fetching};
    let office = Office::start().await;
    let branch = office.branch("north", "k1", &[]).await;
    let epoch = Uuid::new_v4();
    send(&branch, epoch, vec![seen(1), update(2, None, Assigned, 0), update(3, Some(Assigned), Fetching, 1)]).await;
    let mut seq = 3;
    let mut not_taken = async |mut report: Numbered, code: Code| {
        seq += 1;
        report.seq = seq;
        let answer = send(&branch, epoch, vec![report]).await;
        let told: Vec<_> = answer.not_taken.iter().map(|n| (n.seq, n.code)).collect();
        assert_eq!(
            (answer.through, told),
            (seq, vec![(seq, code)]),
            "it is passed over, named, and keeps nothing else waiting"
        );
        assert!(answer.not_taken[0].text.contains("north/till-1"), "{answer:?}");
        seq
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
        not_taken(forged, Code::ReportNotProven).await;
    }
    let endless = Batch { epoch, reports: vec![with(&|u| u.proof = Some("x".repeat(100_000)))] };
    assert_eq!(refusal(branch.client.post::<_, Acknowledged>("/v1/reports", &endless).await), Code::BadField);
    let thief = SigningKey::generate().unwrap();
    let last = not_taken(with(&|u| u.proof = None), Code::ReportNotProven).await;
    send(&branch, epoch, vec![seen_with(last + 1, &thief)]).await;
    let held = send(&branch, epoch, vec![signed(update(last + 2, Some(Fetching), Confirmed, 10), &thief)]).await;
    assert_eq!(held.not_taken[0].code, Code::ReportHeld);
    let shown = async || office.admin().get::<Terminal>("/v1/terminals/north/till-1").await.unwrap();
    let terminal = shown().await;
    assert_eq!(terminal.update.unwrap().state, Fetching);
    assert_eq!(
        (terminal.key.unwrap(), terminal.asked_key.unwrap()),
        (till().public().to_string(), thief.public().to_string())
    );
    assert_eq!(office.admin().get::<Branch>("/v1/branches/north").await.unwrap().confirmed, 0);
    // What is honest goes on.
    send(&branch, epoch, vec![update(last + 3, Some(Fetching), Confirmed, 10)]).await;
    assert_eq!(shown().await.update.unwrap().state, Confirmed);
}

/// What a terminal once signed stays signed: a branch server in other hands sends it again.
#[tokio::test(flavor = "multi_thread")]
async fn old_confirmations_do_not_come_back() {
    use UpdateState::{Assigned, Confirmed, RolledBack};
    let office = Office::start().await;
    let branch = office.branch("north", "k1", &[]).await;
    let epoch = Uuid::new_v4();
    let of = |version: &str, serial: u64, seq: u64, state: UpdateState| {
        let mut report = update(seq, (state != Assigned).then_some(Assigned), state, 10);
        let Report::Update { update, .. } = &mut report.report else { unreachable!() };
        (update.serial, update.version) = (serial, version.parse().unwrap());
        update.payload = service_kit::token::hash(version);
        signed(report, till())
    };
    send(&branch, epoch, vec![seen(1)]).await;
    // The newest plan that head office issued; of later serials it knows nothing.
    let plan = "INSERT INTO plans (branch, serial, issued, expires, steps, packages, envelope)
        VALUES ('north', $1, now(), now(), '[]', '[]', '{}')";
    let client = connection(&office.pool().await).await.unwrap();
    client.execute(plan, &[&41_i64]).await.unwrap();
    let told = [
        of("1.0.0", 10, 2, Assigned),
        of("1.0.0", 10, 3, Confirmed),
        of("2.0.0", 20, 4, Assigned),
        of("2.0.0", 20, 5, Confirmed),
        of("3.0.0", 30, 6, Assigned),
        of("3.0.0", 30, 7, RolledBack),
    ];
    assert_eq!(send(&branch, epoch, told.to_vec()).await.not_taken, []);
    let shown = async || office.admin().get::<Terminal>("/v1/terminals/north/till-1").await.unwrap().update.unwrap();
    let before = shown().await;
    assert_eq!((before.state, before.version.to_string()), (RolledBack, "3.0.0".to_owned()));
    // All of it again under new numbers, and what the terminal never signed under that plan.
    let again = [3, 5].map(|seq| told.iter().find(|t| t.seq == seq).unwrap().report.clone());
    let again = again.into_iter().zip(8..).map(|(report, seq)| Numbered { seq, at: begin(), report });
    let again: Vec<Numbered> = again.chain([of("1.0.0", 30, 10, Confirmed)]).collect();
    let answer = send(&branch, epoch, again).await;
    let codes: Vec<_> = answer.not_taken.iter().map(|n| (n.seq, n.code)).collect();
    assert_eq!(codes, [(8, Code::ReportOld), (9, Code::ReportOld), (10, Code::ReportOld)]);
    assert_eq!(shown().await, before);
    // Nor does what the terminal signed before under the same plan, once its agent says where its states stand.
    let stands = |state: UpdateState, seq: u64, number: u64| {
        let mut report = of("3.0.0", 30, seq, state);
        let Report::Update { update, terminal } = &mut report.report else { unreachable!() };
        let statement = update.position_statement(&"north".parse().unwrap(), terminal, number);
        update.position = Some(Position { number, proof: till().sign_text(&statement) });
        report
    };
    let tried_again = vec![stands(RolledBack, 11, 500), stands(Confirmed, 12, 501)];
    assert_eq!(send(&branch, epoch, tried_again).await.not_taken, []);
    let mut forged = stands(RolledBack, 15, 502);
    let Report::Update { update: moved, .. } = &mut forged.report else { unreachable!() };
    moved.position.as_mut().unwrap().number = 503;
    let backwards = vec![stands(RolledBack, 13, 500), of("3.0.0", 30, 14, RolledBack), forged];
    let codes: Vec<_> = send(&branch, epoch, backwards).await.not_taken.iter().map(|n| (n.seq, n.code)).collect();
    assert_eq!(codes, [(13, Code::ReportOld), (14, Code::ReportOld), (15, Code::ReportNotProven)]);
    assert_eq!(shown().await.state, Confirmed);
    // A later plan may order an earlier version, and its renewals keep counting.
    let later = vec![of("1.0.0", 40, 16, Assigned), of("1.0.0", 41, 17, Confirmed)];
    assert_eq!(send(&branch, epoch, later).await.not_taken, []);
    assert_eq!((shown().await.state, shown().await.serial), (Confirmed, 41));
    // A terminal that makes a serial up does not shut out what comes.
    let made_up = vec![of("9.0.0", 1 << 60, 18, Confirmed), of("1.0.0", 41, 19, Confirmed)];
    assert_eq!(send(&branch, epoch, made_up).await.not_taken, []);
    assert_eq!(shown().await.serial, 41);
    let metrics = office.stranger().request(Method::GET, "/metrics").send().await.unwrap().text().await.unwrap();
    assert!(metrics.contains("filial_states_not_taken_total 6"), "{metrics}");
}

/// A machine that was written again, perhaps with a withdrawn image: that the old disk had confirmed an update says nothing.
#[tokio::test(flavor = "multi_thread")]
async fn confirmed_with_other_bytes_a_new_key_starts_without_update_states() {
    let office = Office::start().await;
    let branch = office.branch("north", "k1", &[]).await;
    let (epoch, new) = (Uuid::new_v4(), SigningKey::generate().unwrap());
    send(&branch, epoch, vec![seen(1), update(2, None, UpdateState::Confirmed, 10), seen_with(3, &new)]).await;
    let shown = async || office.admin().get::<Terminal>("/v1/terminals/north/till-1").await.unwrap().update;
    assert_eq!(
        shown().await.map(|u| u.state),
        Some(UpdateState::Confirmed),
        "the old key counts until an operator decides"
    );
    let body = AcceptKey { key: new.public().to_string(), reason: Some("a new disk".into()) };
    office.admin().post::<_, Terminal>("/v1/terminals/north/till-1/key", &body).await.unwrap();
    assert_eq!(shown().await, None);
    // Nor does what the old key signed come back.
    let old = send(&branch, epoch, vec![update(4, None, UpdateState::Confirmed, 10)]).await;
    assert_eq!(old.not_taken.iter().map(|n| n.code).collect::<Vec<_>>(), [Code::ReportNotProven]);
    let own = signed(update(5, None, UpdateState::Confirmed, 10), &new);
    assert_eq!(send(&branch, epoch, vec![own]).await, Acknowledged::all(5));
    assert_eq!(shown().await.map(|u| u.state), Some(UpdateState::Confirmed));
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
    let status: Status = office.admin().get("/v1/status").await.unwrap();
    let alert = status.alerts.iter().find(|alert| alert.reason.code == ReasonCode::KeyAsked).unwrap();
    assert!(alert.remedy.contains(&format!("accept-key north/till-1 {key}")), "{alert:?}");
    assert_eq!(refusal(accept("no key".into()).await), Code::BadField);
    assert_eq!(refusal(accept(till().public().to_string()).await), Code::WrongState);
    // What it says meanwhile is held, the newest of each product, and counts with the key.
    let meanwhile = [(3, UpdateState::Assigned), (4, UpdateState::Confirmed)];
    let meanwhile = meanwhile.map(|(seq, state)| signed(update(seq, Some(UpdateState::Assigned), state, 10), &new));
    let answer = send(&branch, epoch, meanwhile.to_vec()).await;
    let codes: Vec<_> = answer.not_taken.iter().map(|n| (n.seq, n.code)).collect();
    assert_eq!((answer.through, codes), (4, vec![(3, Code::ReportHeld), (4, Code::ReportHeld)]));
    let shown = async || office.admin().get::<Terminal>("/v1/terminals/north/till-1").await.unwrap().update;
    assert_eq!(shown().await, None);
    let terminal = accept(key.clone()).await.unwrap();
    assert_eq!((terminal.key, terminal.asked_key), (Some(key.clone()), None));
    assert_eq!(refusal(accept(key).await), Code::WrongState);
    assert_eq!(shown().await.unwrap().state, UpdateState::Confirmed);
    let signed = signed(update(5, None, UpdateState::Assigned, 0), &new);
    assert_eq!(send(&branch, epoch, vec![signed]).await, Acknowledged::all(5));
}
