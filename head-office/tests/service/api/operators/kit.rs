//! The kit for a branch without a link, and the reports that come back by hand.

use reqwest::Method;
use serde_json::{Value, json};
use service_kit::database::connection;
use service_kit::server::Role;
use uuid::Uuid;
use wire::v1::audit::AuditPage;
use wire::v1::fleet::{PlanIssued, Terminal};
use wire::v1::kit::{KIT_FORMAT, Kit};
use wire::v1::paths;
use wire::v1::plan::Plan;
use wire::v1::reports::{Acknowledged, Batch, Numbered, Report};
use wire::v1::sync::Sync;
use wire::{Code, PLAN_PAYLOAD_TYPE};

use crate::api::refusal;
use crate::support::{Office, begin, facts, published, status_of};

fn north() -> fleet_types::BranchName {
    "north".parse().unwrap()
}

fn seen(seq: u64, terminal: &str) -> Numbered {
    Numbered { seq, at: begin(), report: Report::TerminalSeen { facts: facts(terminal, "k1"), key: None } }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kit_without_a_plan_has_the_metadata_and_who_may_have_it() {
    let office = Office::start().await;
    let branch = office.branch("north", "k1", &["till-1"]).await;
    let path = paths::branch_kit(&north());
    let kit: Kit = office.as_role(Role::Operator).get(&path).await.unwrap();
    assert_eq!((kit.format, &kit.branch, kit.made_at, &kit.plan), (KIT_FORMAT, &north(), begin(), &None));
    for (name, blob) in &kit.metadata {
        let served = office.admin().get_bytes(&paths::metadata(name), 1 << 20).await.unwrap();
        assert_eq!(served, blob.0, "{name}");
    }
    let has = |name: &str| kit.metadata.keys().any(|n| n == name || n.ends_with(&format!(".{name}")));
    for name in ["timestamp.json", "snapshot.json", "targets.json", "1.root.json"] {
        assert!(has(name), "{name} is not among {:?}", kit.metadata.keys());
    }
    assert_eq!(refusal(office.as_role(Role::Viewer).get::<Kit>(&path).await), Code::Forbidden);
    assert_eq!(refusal(branch.client.get::<Kit>(&path).await), Code::RouteMissing, "not on the machines' listener");
    let nowhere = paths::branch_kit(&"nowhere".parse().unwrap());
    assert_eq!(refusal(office.admin().get::<Kit>(&nowhere).await), Code::NotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kit_carries_the_plan_that_the_link_would_have_brought() {
    let office = Office::start().await;
    let artifact = published(&office, "kiosk", "1.0.0", "k1").await;
    let branch = office.branch("north", "k1", &["till-1"]).await;
    let body = json!({ "branch": "north", "product": "kiosk", "version": "1.0.0" });
    office.admin().post::<_, PlanIssued>("/v1/assignments", &body).await.unwrap();
    // Its file is not in this store: head office says so and writes no kit that would be half of one.
    let missing = office.admin().get::<Kit>(&paths::branch_kit(&north())).await;
    assert_eq!(refusal(missing), Code::Internal);
    let bytes = vec![7; usize::try_from(artifact.length).unwrap()];
    std::fs::create_dir_all(office.settings.store.folder.join("artifacts")).unwrap();
    let file = office.settings.store.folder.join("artifacts").join(artifact.file_name());
    std::fs::write(&file, &bytes).unwrap();
    let torrent = swarm::create(&file, &artifact.file_name(), None, &mut |_| {}).unwrap().torrent.to_file(&[]);
    let client = connection(&office.pool().await).await.unwrap();
    let sql = "UPDATE artifacts SET torrent = $2 WHERE sha256 = $1";
    client.execute(sql, &[&artifact.sha256.to_string(), &torrent]).await.unwrap();
    let kit: Kit = office.admin().get(&paths::branch_kit(&north())).await.unwrap();
    let sync: Sync = branch.client.get("/v1/sync").await.unwrap();
    assert_eq!(kit.plan, sync.plan);
    let plan: Plan = kit.plan.unwrap().open(PLAN_PAYLOAD_TYPE).unwrap();
    assert_eq!(kit.artifacts.len(), 1);
    assert_eq!((kit.artifacts[0].artifact, kit.artifacts[0].length), (artifact.sha256, artifact.length));
    assert_eq!(kit.artifacts[0].index.0.len() as u64, artifact.index_length);
    assert_eq!(kit.manifests.keys().collect::<Vec<_>>(), [&plan.steps[0].manifest]);
    let content = office.as_role(Role::Viewer).get_bytes(&paths::artifact(&artifact.sha256), 1 << 30).await.unwrap();
    assert_eq!(content, bytes);
    assert_eq!(status_of(&office.stranger(), Method::GET, &paths::artifact(&artifact.sha256)).await, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn reports_that_come_by_hand_and_over_the_link_count_once_and_are_audited() {
    let office = Office::start().await;
    let branch = office.branch("north", "k1", &[]).await;
    // What the branch said over the link is the first.
    let (path, epoch) = (paths::branch_reports(&north()), branch.epoch);
    let batch = Batch { epoch, reports: vec![seen(2, "till-1"), seen(3, "till-2")] };
    let operator = office.as_role(Role::Operator);
    for _ in 0..2 {
        assert_eq!(operator.post::<_, Acknowledged>(&path, &batch).await.unwrap().through, 3);
    }
    let again: Acknowledged = branch.client.post(paths::REPORTS, &batch).await.unwrap();
    assert_eq!(again.through, 3);
    let later = Batch { epoch, reports: vec![seen(4, "till-3")] };
    branch.client.post::<_, Acknowledged>(paths::REPORTS, &later).await.unwrap();
    let terminals: Vec<Terminal> = office.admin().get(paths::TERMINALS).await.unwrap();
    assert_eq!(terminals.len(), 3);
    let gap = Batch { epoch, reports: vec![seen(9, "till-9")] };
    assert_eq!(refusal(operator.post::<_, Acknowledged>(&path, &gap).await), Code::ReportOutOfOrder);
    assert_eq!(refusal(office.as_role(Role::Viewer).post::<_, Acknowledged>(&path, &batch).await), Code::Forbidden);
    let page: AuditPage = office.admin().get(paths::AUDIT).await.unwrap();
    let carried = page.entries.iter().filter(|e| e.action.ends_with("/reports")).count();
    assert_eq!(carried, 2, "who brought them is written down: {:?}", page.entries);
    let after = page.entries.iter().find(|e| e.action.ends_with("/reports")).unwrap().after.clone().unwrap();
    assert_eq!(after["kinds"], json!({ "terminal-seen": 2 }));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_only_the_branch_may_say_does_not_count_from_an_operators_hand() {
    let office = Office::start().await;
    let mut branch = office.branch("north", "k1", &["till-1"]).await;
    let (path, till) = (paths::branch_reports(&north()), "till-1".parse().unwrap());
    branch.report(Report::TerminalDenied { terminal: till, denied: true }).await;
    let next = branch.seq + 1;
    let (operator, admin) = (office.as_role(Role::Operator), office.admin());
    let numbered = |seq, report| Numbered { seq, at: begin(), report };
    let denial = |denied| Report::TerminalDenied { terminal: "till-1".parse().unwrap(), denied };
    let reused = Report::NumbersReused { terminal: None, times: 1 };
    let denied = async || {
        let terminals: Vec<Terminal> = office.admin().get(paths::TERMINALS).await.unwrap();
        terminals[0].denied.is_some()
    };
    assert!(denied().await);
    for (epoch, seq, report) in [
        (branch.epoch, next, denial(false)),
        (branch.epoch, next, reused),
        // A numbering beside the branch's would refuse what the branch says.
        (Uuid::new_v4(), 1, seen(1, "till-2").report),
    ] {
        let batch = Batch { epoch, reports: vec![numbered(seq, report)] };
        let refused = operator.post::<_, Acknowledged>(&path, &batch).await.unwrap_err();
        assert!(refused.to_string().contains("an admin"), "{refused}");
        assert_eq!(refusal::<Acknowledged>(Err(refused)), Code::Forbidden);
    }
    assert!(denied().await, "the denial stays");
    // How far the audit reaches is passed over, and the answer says so.
    let head = wire::v1::audit::Head { seq: 9, hash: service_kit::token::hash("forged") };
    let batch = Batch { epoch: branch.epoch, reports: vec![numbered(next, Report::AuditHead { head })] };
    let answer: Acknowledged = operator.post(&path, &batch).await.unwrap();
    assert_eq!((answer.through, answer.not_taken.len(), answer.not_taken[0].code), (next, 1, Code::Forbidden));
    let north: Value = admin.get("/v1/branches/north").await.unwrap();
    assert!(north.get("audit").is_none_or(Value::is_null), "{north}");
    // An admin may.
    let batch = Batch { epoch: branch.epoch, reports: vec![numbered(next + 1, denial(false))] };
    admin.post::<_, Acknowledged>(&path, &batch).await.unwrap();
    assert!(!denied().await);
}
