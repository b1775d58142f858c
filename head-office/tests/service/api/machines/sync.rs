use chrono::TimeDelta;
use fleet_types::ReleaseState;
use reqwest::Method;
use serde_json::json;
use test_kit::wait_for;
use wire::v1::fleet::{Branch, BranchRemoved, PlanIssued, TerminalRemoved};
use wire::v1::plan::Plan;
use wire::v1::releases::Withdrawn;
use wire::v1::reports::Report;
use wire::v1::status::Status;
use wire::v1::sync::{DeniedMachines, Sync};
use wire::{Code, PLAN_PAYLOAD_TYPE, ReasonCode};

use service_kit::database::connection;
use service_kit::server::Role;

use crate::api::refusal;
use crate::support::{Branch as Server, Office, PATIENCE, published};

#[tokio::test(flavor = "multi_thread")]
async fn a_branch_that_was_told_nothing_has_no_plan() {
    let office = Office::start().await;
    let branch = office.branch("north", "k1", &["till-1"]).await;
    let sync: Sync = branch.client.get("/v1/sync").await.unwrap();
    assert_eq!((sync.plan, sync.available), (None, vec![]));
    assert_eq!(refusal(office.machine(None).get::<Sync>("/v1/sync").await), Code::Unauthenticated);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_stays_byte_for_byte_and_is_made_anew_at_half_of_its_life() {
    let office = Office::start().await;
    published(&office, "kiosk", "2.0.0", "k1").await;
    let branch = office.branch("north", "k1", &["till-1"]).await;
    let body = json!({ "branch": "north", "product": "kiosk", "version": "2.0.0" });
    office.admin().post::<_, PlanIssued>("/v1/assignments", &body).await.unwrap();
    let first: Sync = branch.client.get("/v1/sync").await.unwrap();
    office.clock.advance(TimeDelta::days(14));
    assert_eq!(branch.client.get::<Sync>("/v1/sync").await.unwrap(), first);
    office.clock.advance(TimeDelta::days(2));
    let second = wait_for("the next plan", PATIENCE, async || {
        let second: Sync = branch.client.get("/v1/sync").await.unwrap();
        if second.plan == first.plan { Err("the plan is the same") } else { Ok(second) }
    })
    .await;
    let open = |s: &Sync| s.plan.as_ref().unwrap().open::<Plan>(PLAN_PAYLOAD_TYPE).unwrap();
    let (before, after) = (open(&first), open(&second));
    assert!(after.serial > before.serial && after.expires == before.expires + TimeDelta::days(16));
    assert_eq!(after.steps, before.steps);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_branch_sees_only_its_own_plan() {
    let office = Office::start().await;
    published(&office, "kiosk", "2.0.0", "k1").await;
    office.branch("north", "k1", &["till-1"]).await;
    let east = office.branch("east", "k1", &["till-1"]).await;
    let body = json!({ "branch": "north", "product": "kiosk", "version": "2.0.0" });
    office.admin().post::<_, PlanIssued>("/v1/assignments", &body).await.unwrap();
    assert_eq!(east.client.get::<Sync>("/v1/sync").await.unwrap().plan, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_plan_of_one_branch_stops_no_other_branchs_renewal_and_is_a_failure() {
    let office = Office::start().await;
    published(&office, "kiosk", "2.0.0", "k1").await;
    let mut branches = Vec::new();
    for name in ["east", "north", "south", "west"] {
        branches.push(office.branch(name, "k1", &["till-1"]).await);
        let body = json!({ "branch": name, "product": "kiosk", "version": "2.0.0" });
        office.admin().post::<_, PlanIssued>("/v1/assignments", &body).await.unwrap();
    }
    let client = connection(&office.pool().await).await.unwrap();
    let broken = "UPDATE plans SET steps = '{\"broken\": true}',
        envelope = jsonb_set(envelope, '{signatures,0,keyid}', '7') WHERE branch = 'north'";
    assert_eq!(client.execute(broken, &[]).await.unwrap(), 1);
    office.clock.advance(TimeDelta::days(16));
    let others: Vec<_> = branches.iter().filter(|branch| branch.name.as_str() != "north").collect();
    wait_for("the plans of the other branches", PATIENCE, async || {
        for branch in &others {
            let sync: Sync = branch.client.get("/v1/sync").await.unwrap();
            let plan = sync.plan.unwrap().open::<Plan>(PLAN_PAYLOAD_TYPE).unwrap();
            if plan.issued != crate::support::begin() + TimeDelta::days(16) {
                return Err(format!("the plan of {} is of {}", branch.name, plan.issued));
            }
        }
        let metrics = office.admin().request(Method::GET, "/metrics").send().await.unwrap().text().await.unwrap();
        let line = metrics.lines().find(|line| line.starts_with(r#"filial_background_failures_total{task="plans"}"#));
        if line.is_some_and(|line| !line.ends_with(" 0")) { Ok(()) } else { Err(format!("no failure: {line:?}")) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_plan_of_one_branch_is_shown_with_it_and_a_withdrawal_reaches_the_others() {
    let office = Office::start().await;
    published(&office, "kiosk", "2.0.0", "k1").await;
    let mut branches = Vec::new();
    for name in ["east", "north", "west"] {
        branches.push(office.branch(name, "k1", &["till-1"]).await);
        let body = json!({ "branch": name, "product": "kiosk", "version": "2.0.0" });
        office.admin().post::<_, PlanIssued>("/v1/assignments", &body).await.unwrap();
    }
    let client = connection(&office.pool().await).await.unwrap();
    let broken = "UPDATE plans SET steps = '{\"broken\": true}' WHERE branch = 'north'";
    assert_eq!(client.execute(broken, &[]).await.unwrap(), 1);

    let status: Status = office.admin().get("/v1/status").await.unwrap();
    let shown: Vec<_> = status.branches.iter().map(|b| (b.name.as_str(), b.plan_serial.is_some())).collect();
    assert_eq!(shown, [("east", true), ("north", false), ("west", true)]);
    let why = status.branches[1].plan_unreadable.clone().unwrap();
    assert!(why.code == ReasonCode::PlanUnreadable && why.sentence().contains("column steps"), "{why:?}");
    assert!(status.branches[0].plan_unreadable.is_none() && !status.branches[0].artifacts.is_empty());

    let body = json!({ "reason": "Receipts print twice." });
    let path = format!("/v1/releases/{}/withdraw", status.releases[0].id);
    let done: Withdrawn = office.as_role(Role::Operator).post(&path, &body).await.unwrap();
    assert_eq!((done.release.state, done.branches), (ReleaseState::Withdrawn, 3));
    let to_do = done.to_do.unwrap();
    assert!(to_do.contains("north (column steps") && !to_do.contains("east"), "{to_do}");
    for branch in branches.iter().filter(|branch| branch.name.as_str() != "north") {
        let sync: Sync = branch.client.get("/v1/sync").await.unwrap();
        let plan = sync.plan.unwrap().open::<Plan>(PLAN_PAYLOAD_TYPE).unwrap();
        assert_eq!(plan.steps, [], "{}", branch.name);
    }
    let gone: serde_json::Value = office.admin().delete("/v1/branches/north?force=true").await.unwrap();
    assert_eq!(gone["terminals"], 1, "it can be removed");
}

/// A branch server is told whom it must not let in by an old certificate; that outlives the branch.
#[tokio::test(flavor = "multi_thread")]
async fn denied_terminals_and_servers_are_told_to_the_next_server_of_their_branch() {
    let office = Office::start().await;
    let mut branch = office.branch("north", "k1", &["till-1", "till-2"]).await;
    let east = office.branch("east", "k1", &["till-1"]).await;
    let denied = async |branch: &Server| branch.client.get::<Sync>("/v1/sync").await.unwrap().denied.unwrap();
    assert_eq!(denied(&branch).await, DeniedMachines::default());
    let report = |terminal: &str, denied| Report::TerminalDenied { terminal: terminal.parse().unwrap(), denied };
    branch.report(report("till-1", true)).await;
    branch.report(report("till-2", true)).await;
    branch.report(report("till-2", false)).await;
    let names = |denied: &DeniedMachines| denied.terminals.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(names(&denied(&branch).await), ["till-1"]);
    assert_eq!(denied(&east).await, DeniedMachines::default());
    // The server is stolen: it is denied and removed, and another takes its place.
    let stolen = json!({ "reason": "stolen" });
    office.admin().post::<_, Branch>("/v1/branches/north/deny", &stolen).await.unwrap();
    office.admin().delete::<BranchRemoved>("/v1/branches/north?force=true").await.unwrap();
    let next = office.branch("north", "k1", &[]).await;
    let told = denied(&next).await;
    assert_eq!((names(&told), told.issuers.len()), (vec!["till-1".to_owned()], 1));
    // An admin lifts it where head office remembers it.
    let path = "/v1/terminals/north/till-1?allow_again=true";
    let removed: TerminalRemoved = office.admin().delete(path).await.unwrap();
    assert_eq!(removed.name.as_str(), "till-1");
    assert_eq!(names(&denied(&next).await), Vec::<String>::new());
}

/// Head office lost its database, or never heard of the terminal: its denial counts all the same.
#[tokio::test(flavor = "multi_thread")]
async fn denial_of_a_terminal_that_is_not_known_is_remembered_and_lifted() {
    let office = Office::start().await;
    let mut branch = office.branch("north", "k1", &[]).await;
    let report = |denied| Report::TerminalDenied { terminal: "till-1".parse().unwrap(), denied };
    let told = async |branch: &Server| {
        let denied = branch.client.get::<Sync>("/v1/sync").await.unwrap().denied.unwrap();
        denied.terminals.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    branch.report(report(true)).await;
    branch.report(report(true)).await;
    assert_eq!(told(&branch).await, ["till-1"]);
    branch.report(report(false)).await;
    assert_eq!(told(&branch).await, Vec::<String>::new());
    // A branch fills the table with inventions no further than it could with terminals.
    let client = office.pool().await.get().await.unwrap();
    let fill = "insert into denied_names (branch, name, denied_at) select 'north', 'made-' || n, now() from generate_series(1, 10000) n";
    client.execute(fill, &[]).await.unwrap();
    branch.report(report(true)).await;
    let count = client.query_one("select count(*) from denied_names", &[]).await.unwrap();
    assert_eq!(count.get::<_, i64>(0), 10_000);
}
