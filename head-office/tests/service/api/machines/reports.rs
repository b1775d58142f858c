use std::sync::LazyLock;

use chrono::TimeDelta;
use fleet_types::{Slot, UpdateState};
use reqwest::Method;
use serde_json::json;
use trust::SigningKey;
use uuid::Uuid;
use wire::v1::fleet::{Branch, PlanIssued, Terminal};
use wire::v1::incidents::Incidents;
use wire::v1::reports::{Acknowledged, Batch, MAX_ADDRESSES, Numbered, Reason, Report, UpdateReport};
use wire::v1::status::Status;
use wire::{Code, ReasonCode};

use crate::api::refusal;
use crate::support::{Office, begin, count, facts, published};

pub fn numbered(seq: u64, report: Report) -> Numbered {
    Numbered { seq, at: begin() + TimeDelta::seconds(seq as i64), report }
}

/// The key of `till-1`.
pub fn till() -> &'static SigningKey {
    static KEY: LazyLock<SigningKey> = LazyLock::new(|| SigningKey::generate().unwrap());
    &KEY
}

pub fn seen_with(seq: u64, key: &SigningKey) -> Numbered {
    numbered(seq, Report::TerminalSeen { facts: facts("till-1", "k1"), key: Some(key.public().to_string()) })
}

pub fn seen(seq: u64) -> Numbered {
    seen_with(seq, till())
}

pub fn signed(report: Numbered, key: &SigningKey) -> Numbered {
    let Report::Update { terminal, mut update } = report.report else { panic!("no update") };
    update.proof = Some(key.sign_text(&update.statement(&"north".parse().unwrap(), &terminal)));
    Numbered { report: Report::Update { terminal, update }, ..report }
}

pub fn update(seq: u64, from: Option<UpdateState>, state: UpdateState, done: u64) -> Numbered {
    let reason =
        (state == UpdateState::RolledBack).then(|| Reason::new("unhealthy", "The till program did not start."));
    let update = UpdateReport {
        serial: 7,
        product: "kiosk".parse().unwrap(),
        version: "2.0.0".parse().unwrap(),
        payload: service_kit::token::hash("kiosk 2.0.0 payload"),
        from,
        state,
        segments_done: done,
        segments_total: 10,
        reason,
        proof: None,
        position: None,
        evidence: None,
    };
    signed(numbered(seq, Report::Update { terminal: "till-1".parse().unwrap(), update }), till())
}

pub async fn send(branch: &crate::support::Branch, epoch: Uuid, reports: Vec<Numbered>) -> Acknowledged {
    branch.client.post("/v1/reports", &Batch { epoch, reports }).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_and_every_move_of_it_are_kept() {
    use UpdateState::{Assigned, Fetching, Installing, RolledBack};
    let office = Office::start().await;
    let branch = office.branch("north", "k1", &[]).await;
    let epoch = Uuid::new_v4();
    let running =
        Report::Running { terminal: "till-1".parse().unwrap(), slot: Slot::A, version: "1.0.0".parse().unwrap() };
    let reports = vec![
        seen(1),
        numbered(2, running),
        update(3, None, Assigned, 0),
        update(4, Some(Assigned), Fetching, 1),
        update(5, Some(Fetching), Fetching, 6),
        update(6, Some(Fetching), Installing, 10),
    ];
    assert_eq!(send(&branch, epoch, reports).await.through, 6);
    let terminal: Terminal = office.admin().get("/v1/terminals/north/till-1").await.unwrap();
    assert_eq!((terminal.slot, terminal.version), (Some(Slot::A), Some("1.0.0".parse().unwrap())));
    let stands = terminal.update.unwrap();
    assert_eq!((stands.state, stands.segments_done, stands.since), (Installing, 10, begin() + TimeDelta::seconds(6)));
    let moves: Vec<_> = stands.history.iter().map(|m| (m.from, m.to)).collect();
    assert_eq!(moves, [(None, Assigned), (Some(Assigned), Fetching), (Some(Fetching), Installing)]);

    send(&branch, epoch, vec![update(7, Some(Installing), RolledBack, 10)]).await;
    let all: Vec<Terminal> = office.admin().get("/v1/terminals").await.unwrap();
    let stands = all[0].update.clone().unwrap();
    assert_eq!(stands.reason.unwrap().code, "unhealthy");
    assert_eq!(stands.history.len(), 4);
    // A list shows where it stands; why it stood elsewhere before is told of one terminal.
    assert!(stands.history.iter().all(|step| step.reason.is_none()));
    let terminal: Terminal = office.admin().get("/v1/terminals/north/till-1").await.unwrap();
    let last = terminal.update.unwrap().history.pop().unwrap();
    assert_eq!((last.to, last.reason.unwrap().code.as_str()), (RolledBack, "unhealthy"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_terminal_that_goes_in_circles_makes_no_list_long() {
    const MOVES: &str = "INSERT INTO moves (update_id, from_state, to_state, at, reason_code, reason_text)
        SELECT id, 'fetching', 'installing', now(), 'unhealthy', repeat('x', 4000) FROM updates, generate_series(1, 100)";
    let office = Office::start().await;
    let branch = office.branch("north", "k1", &[]).await;
    send(&branch, Uuid::new_v4(), vec![seen(1), update(2, None, UpdateState::Assigned, 0)]).await;
    let client = service_kit::database::connection(&office.pool().await).await.unwrap();
    client.execute(MOVES, &[]).await.unwrap();
    let all: Vec<Terminal> = office.admin().get("/v1/terminals").await.unwrap();
    assert_eq!(all[0].update.as_ref().unwrap().history.len(), 20);
    let length = serde_json::to_vec(&all).unwrap().len();
    assert!(length < 8_000, "{length} bytes");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_report_counts_once_however_often_it_comes() {
    let office = Office::start().await;
    let branch = office.branch("north", "k1", &[]).await;
    let epoch = Uuid::new_v4();
    let first = vec![seen(1), update(2, None, UpdateState::Assigned, 0)];
    for _ in 0..3 {
        assert_eq!(send(&branch, epoch, first.clone()).await.through, 2);
    }
    // Overlapping with what is stored; and many at once.
    let overlap = vec![
        update(2, None, UpdateState::Assigned, 0),
        update(3, Some(UpdateState::Assigned), UpdateState::Fetching, 1),
    ];
    let batches = (0..4).map(|_| send(&branch, epoch, overlap.clone()));
    for answer in futures_util::future::join_all(batches).await {
        assert_eq!(answer.through, 3);
    }
    let pool = office.pool().await;
    assert_eq!(count(&pool, "SELECT count(*) FROM moves").await, 2);
    assert_eq!(count(&pool, "SELECT count(*) FROM updates").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gap_is_refused_and_says_where_to_go_on() {
    let office = Office::start().await;
    let branch = office.branch("north", "k1", &[]).await;
    let epoch = Uuid::new_v4();
    send(&branch, epoch, vec![seen(1)]).await;
    let post = async |epoch, reports| {
        refusal(branch.client.post::<_, Acknowledged>("/v1/reports", &Batch { epoch, reports }).await)
    };
    assert_eq!(post(epoch, vec![seen(3)]).await, Code::ReportOutOfOrder);
    assert_eq!(post(epoch, vec![seen(2), seen(4)]).await, Code::BadField);
    assert_eq!(post(epoch, vec![seen(0)]).await, Code::BadField);
    assert_eq!(post(Uuid::new_v4(), vec![seen(2)]).await, Code::ReportOutOfOrder);
    assert_eq!(post(epoch, (2..=202).map(seen).collect()).await, Code::BatchTooLong);
    // A branch that lost its journal begins again under another name; its old reports still count as stored, and are
    // not continued.
    assert_eq!(send(&branch, Uuid::new_v4(), vec![seen(1)]).await.through, 1);
    assert_eq!(send(&branch, epoch, vec![seen(1)]).await.through, 1);
    assert_eq!(post(epoch, vec![seen(1), seen(2)]).await, Code::NumberReused);
    assert_eq!(
        refusal(office.machine(None).post::<_, Acknowledged>("/v1/reports", &json!({})).await),
        Code::Unauthenticated
    );
    assert_eq!(refusal(branch.client.post::<_, Acknowledged>("/v1/reports", &json!({})).await), Code::BadField);
}

#[tokio::test(flavor = "multi_thread")]
async fn reports_about_nobody_and_of_inventions_block_nothing() {
    let office = Office::start().await;
    let branch = office.branch("north", "k1", &[]).await;
    let invented = Report::Artifact {
        artifact: service_kit::token::hash("invented"),
        have_bytes: u64::MAX,
        complete: true,
        trouble: Some(Reason::new("x", "nul \0 and \u{1b}[31m escape").with("nul", "\0")),
    };
    let reports = vec![update(1, None, UpdateState::Assigned, 0), numbered(2, invented), seen(3)];
    assert_eq!(send(&branch, Uuid::new_v4(), reports).await.through, 3);
    assert_eq!(count(&office.pool().await, "SELECT count(*) FROM branch_artifacts").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_of_an_unknown_kind_is_acknowledged_counted_and_skipped() {
    let office = Office::start().await;
    let branch = office.branch("north", "k1", &[]).await;
    let newer = json!({ "seq": 1, "at": begin(), "report": { "kind": "fan-speed", "rpm": [1200] } });
    let batch = json!({ "epoch": Uuid::new_v4(), "reports": [newer, seen(2)] });
    let answer: Acknowledged = branch.client.post("/v1/reports", &batch).await.unwrap();
    assert_eq!(answer.through, 2);
    let terminal: Terminal = office.admin().get("/v1/terminals/north/till-1").await.unwrap();
    assert_eq!(terminal.name.as_str(), "till-1", "the report after it counts");
    let metrics = office.admin().request(Method::GET, "/metrics").send().await.unwrap().text().await.unwrap();
    assert!(metrics.contains("filial_unknown_reports_total 1"), "{metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn control_characters_and_long_reasons_do_no_harm() {
    let office = Office::start().await;
    let branch = office.branch("north", "k1", &[]).await;
    let mut bad = update(2, None, UpdateState::Failed, 0);
    if let Report::Update { update, .. } = &mut bad.report {
        update.reason =
            Some(Reason { code: "c\0".repeat(1000).into(), params: Default::default(), text: "\0ж".repeat(5000) });
    }
    send(&branch, Uuid::new_v4(), vec![seen(1), bad]).await;
    let terminal: Terminal = office.admin().get("/v1/terminals/north/till-1").await.unwrap();
    let reason = terminal.update.unwrap().reason.unwrap();
    assert!(reason.code.as_str().len() <= 64 && reason.text.len() <= wire::MAX_REASON_LEN, "{reason:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_confirmed_counts_and_progress_of_the_branch_is_shown() {
    let office = Office::start().await;
    let artifact = published(&office, "kiosk", "2.0.0", "k1").await;
    let branch = office.branch("north", "k1", &[]).await;
    let epoch = Uuid::new_v4();
    send(&branch, epoch, vec![seen(1)]).await;
    let body = json!({ "branch": "north", "product": "kiosk", "version": "2.0.0" });
    office.admin().post::<_, PlanIssued>("/v1/assignments", &body).await.unwrap();
    let slow = Reason::of(ReasonCode::WaitingTurn).with("others", 3);
    let held =
        Report::Artifact { artifact: artifact.sha256, have_bytes: 400, complete: false, trouble: Some(slow.clone()) };
    send(&branch, epoch, vec![numbered(2, held), update(3, None, UpdateState::Trying, 10)]).await;
    let shown: Branch = office.admin().get("/v1/branches/north").await.unwrap();
    assert_eq!((shown.confirmed, shown.artifacts[0].have_bytes), (0, 400));
    let trouble = shown.artifacts[0].trouble.clone().unwrap();
    assert!(trouble == slow && trouble.sentence().contains("3 other artifacts"), "{trouble:?}");
    // An earlier version has sentences only, and a later one codes that are not known here.
    let told = async |seq: u64, trouble: serde_json::Value| {
        let report = json!({ "kind": "artifact", "artifact": artifact.sha256, "have_bytes": 400, "complete": false,
            "trouble": trouble });
        let batch = json!({ "epoch": epoch, "reports": [{ "seq": seq, "at": begin(), "report": report }] });
        branch.client.post::<_, Acknowledged>("/v1/reports", &batch).await.unwrap();
        let shown: Branch = office.admin().get("/v1/branches/north").await.unwrap();
        shown.artifacts[0].trouble.clone().unwrap()
    };
    assert_eq!(told(4, json!("slow")).await, Reason::new(ReasonCode::Unclassified, "slow"));
    let newer = json!({ "code": "fan-stuck", "params": { "fan": "2" }, "text": "Fan 2 is stuck." });
    let kept = told(5, newer.clone()).await;
    assert_eq!((serde_json::to_value(&kept).unwrap(), kept.sentence()), (newer, "Fan 2 is stuck.".to_owned()));
    send(&branch, epoch, vec![update(6, Some(UpdateState::Trying), UpdateState::Confirmed, 10)]).await;
    let shown: Branch = office.admin().get("/v1/branches/north").await.unwrap();
    assert_eq!(shown.confirmed, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_that_a_branch_refuses_is_shown_until_it_refuses_nothing() {
    let office = Office::start().await;
    let branch = office.branch("north", "k1", &[]).await;
    let epoch = Uuid::new_v4();
    let refused = |why: Option<Reason>| Report::PlanRefused { serial: why.as_ref().map(|_| 7), reason: why };
    let expired = Reason::new(ReasonCode::PlanExpired, "Plan 7 expired.");
    let shown = async || office.admin().get::<Branch>("/v1/branches/north").await.unwrap().plan_refused;
    send(&branch, epoch, vec![numbered(1, refused(Some(expired.clone())))]).await;
    assert_eq!(shown().await, Some(expired));
    let hostile =
        Reason { code: "x".into(), params: Default::default(), text: "\u{1b}[2J".to_owned() + &"x".repeat(5000) };
    send(&branch, epoch, vec![numbered(2, refused(Some(hostile)))]).await;
    assert!(shown().await.is_some_and(|why| why.text.len() <= wire::MAX_REASON_LEN && !why.text.contains('\u{1b}')));
    send(&branch, epoch, vec![numbered(3, refused(None))]).await;
    assert_eq!(shown().await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_that_a_terminal_refuses_is_shown_until_it_refuses_nothing() {
    let office = Office::start().await;
    let branch = office.branch("north", "k1", &[]).await;
    let (epoch, mut seq) = (Uuid::new_v4(), 1);
    send(&branch, epoch, vec![seen(1)]).await;
    let mut refuses = async |terminal: &str, reason: Option<Reason>| {
        seq += 1;
        let report = Report::TerminalRefusesPlan { terminal: terminal.parse().unwrap(), reason };
        send(&branch, epoch, vec![numbered(seq, report)]).await;
        let one: Terminal = office.admin().get("/v1/terminals/north/till-1").await.unwrap();
        let status: Status = office.admin().get("/v1/status").await.unwrap();
        assert_eq!(status.terminals[0].plan_refused, one.plan_refused);
        one.plan_refused
    };
    let why = Reason::new("plan-unknown-key", "No plan key that is known here signed the plan.").with("serial", 7);
    assert_eq!(refuses("till-1", Some(why.clone())).await, Some(why.clone()));
    assert_eq!(refuses("till-9", None).await, Some(why), "of a terminal that there is not");
    let hostile = Reason {
        code: "x\u{1b}".repeat(500).into(),
        params: Default::default(),
        text: "\u{1b}[2J".to_owned() + &"x".repeat(5000),
    };
    let kept = refuses("till-1", Some(hostile)).await.unwrap();
    assert!(kept.text.len() <= wire::MAX_REASON_LEN && kept.code.as_str().len() <= 64 && !kept.text.contains('\u{1b}'));
    assert_eq!(refuses("till-1", None).await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_peers_are_incidents_newest_first_and_bounded() {
    let office = Office::start().await;
    let artifact = published(&office, "kiosk", "2.0.0", "k1").await;
    let branch = office.branch("north", "k1", &[]).await;
    let bad = |seq: u64, artifact, terminal: Option<&str>, addresses: usize| {
        let report = Report::BadPeer {
            terminal: terminal.map(|t| t.parse().unwrap()),
            artifact,
            addresses: vec![[10, 0, 0, 9].into(); addresses],
            wasted_bytes: seq,
            certain: false,
        };
        numbered(seq, report)
    };
    let invented = service_kit::token::hash("invented");
    let epoch = Uuid::new_v4();
    let reports = vec![
        bad(1, artifact.sha256, Some("till-1"), 1),
        bad(2, artifact.sha256, None, MAX_ADDRESSES),
        bad(3, invented, None, 1),
    ];
    assert_eq!(send(&branch, epoch, reports).await.through, 3);
    let endless = Batch { epoch, reports: vec![bad(4, artifact.sha256, None, MAX_ADDRESSES + 1)] };
    assert_eq!(refusal(branch.client.post::<_, Acknowledged>("/v1/reports", &endless).await), Code::BadField);

    let page: Incidents = office.admin().get("/v1/incidents").await.unwrap();
    let told: Vec<_> =
        page.incidents.iter().map(|i| (i.wasted_bytes, i.addresses.len(), i.terminal.is_some())).collect();
    assert_eq!(told, [(2, MAX_ADDRESSES, false), (1, 1, true)], "newest first, without inventions");
    assert_eq!(page.next, None);
    let status: Status = office.admin().get("/v1/status").await.unwrap();
    assert_eq!(status.incidents, page.incidents);

    let first: Incidents = office.admin().get("/v1/incidents?limit=1").await.unwrap();
    let second: Incidents =
        office.admin().get(&format!("/v1/incidents?limit=1&before={}", first.next.unwrap())).await.unwrap();
    assert_eq!([first.incidents, second.incidents].concat(), page.incidents);
    assert_eq!(second.next, None);
    assert_eq!(refusal(office.admin().get::<Incidents>("/v1/incidents?limit=201").await), Code::BadField);

    for batch in 0..6 {
        let seqs = 4 + batch * 200..204 + batch * 200;
        send(&branch, epoch, seqs.map(|seq| bad(seq, artifact.sha256, None, 1)).collect()).await;
    }
    assert_eq!(count(&office.pool().await, "SELECT count(*) FROM incidents").await, 1000);
}
