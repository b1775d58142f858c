use reqwest::Method;
use service_kit::server::Role;
use wire::Code;
use wire::v1::audit::AuditPage;
use wire::v1::fleet::{Terminal, TerminalRemoved};
use wire::v1::reports::Report;

use crate::api::refusal;
use crate::support::{Office, count, status_of};

#[tokio::test(flavor = "multi_thread")]
async fn terminals_are_learned_from_reports_and_listed() {
    let office = Office::start().await;
    office.branch("north", "k1", &["till-2", "till-1"]).await;
    office.branch("east", "k2", &["till-1"]).await;
    let viewer = office.as_role(Role::Viewer);
    let names = |all: &[Terminal]| all.iter().map(|t| format!("{}/{}", t.branch, t.name)).collect::<Vec<_>>();
    let all: Vec<Terminal> = viewer.get("/v1/terminals").await.unwrap();
    assert_eq!(names(&all), ["east/till-1", "north/till-1", "north/till-2"]);
    let north: Vec<Terminal> = viewer.get("/v1/terminals?branch=north").await.unwrap();
    assert_eq!(names(&north), ["north/till-1", "north/till-2"]);
    let one: Terminal = viewer.get("/v1/terminals/north/till-1").await.unwrap();
    assert_eq!((one.model.as_str(), one.slot, one.version, one.update), ("k1", None, None, None));
    assert!(one.last_heard.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_exist_or_cannot_be_read_is_refused() {
    let office = Office::start().await;
    let viewer = office.as_role(Role::Viewer);
    assert_eq!(refusal(viewer.get::<Vec<Terminal>>("/v1/terminals?branch=nowhere").await), Code::NotFound);
    assert_eq!(refusal(viewer.get::<Terminal>("/v1/terminals/north/till-1").await), Code::NotFound);
    assert_eq!(refusal(viewer.get::<Vec<Terminal>>("/v1/terminals?branch=NO").await), Code::BadRequest);
    assert_eq!(refusal(viewer.get::<Vec<Terminal>>("/v1/terminals?colour=red").await), Code::BadRequest);
    assert_eq!(status_of(&office.stranger(), Method::GET, "/v1/terminals").await, 401);
    // A branch's certificate is nothing to the operators' listener: it asks for none.
    let branch = office.branch("north", "k1", &[]).await;
    let at_operators = office.line().client(office.operators, None, Some(&office.leaf(&branch)));
    assert_eq!(refusal(at_operators.get::<Vec<Terminal>>("/v1/terminals").await), Code::Unauthenticated);
}

#[tokio::test(flavor = "multi_thread")]
async fn terminal_in_use_is_removed_by_force_or_once_it_is_denied() {
    let office = Office::start().await;
    let mut branch = office.branch("north", "k1", &["till-1", "till-2"]).await;
    let remove = async |path: &str| office.admin().delete::<TerminalRemoved>(path).await;
    let error = remove("/v1/terminals/north/till-1").await.unwrap_err();
    assert!(error.to_string().contains("terminal deny") && error.to_string().contains("--force"), "{error}");
    assert_eq!(refusal(remove("/v1/terminals/north/till-1").await), Code::TerminalInUse);
    for role in [Role::Viewer, Role::Operator, Role::ReleaseManager] {
        let answer = office.as_role(role).delete::<TerminalRemoved>("/v1/terminals/north/till-1?force=true").await;
        assert_eq!(refusal(answer), Code::Forbidden);
    }
    for path in ["/v1/terminals/north/nobody", "/v1/terminals/nowhere/till-1"] {
        assert_eq!(refusal(remove(path).await), Code::NotFound);
    }
    let running = Report::Running {
        terminal: "till-1".parse().unwrap(),
        slot: fleet_types::Slot::A,
        version: "1.0.0".parse().unwrap(),
    };
    branch.report(running).await;
    let update =
        "INSERT INTO updates (branch, terminal, product, serial, version, payload_sha256, state, segments_done,
        segments_total, since) VALUES ('north', 'till-1', 'kiosk', 1, '1.0.0', '00', 'fetching', 0, 0, now())";
    let pool = office.pool().await;
    service_kit::database::connection(&pool).await.unwrap().execute(update, &[]).await.unwrap();
    let removed = remove("/v1/terminals/north/till-1?force=true").await.unwrap();
    assert_eq!((removed.branch.as_str(), removed.name.as_str()), ("north", "till-1"));
    assert_eq!(refusal(remove("/v1/terminals/north/till-1").await), Code::NotFound);
    assert_eq!(count(&pool, "SELECT count(*) FROM updates").await, 0);
    let page: AuditPage = office.admin().get("/v1/audit?limit=1").await.unwrap();
    let told = serde_json::to_string(&page).unwrap();
    assert!(told.contains("terminal north/till-1") && told.contains("forced"), "{told}");
    // A denied one needs no force.
    branch.report(Report::TerminalDenied { terminal: "till-2".parse().unwrap(), denied: true }).await;
    let shown: Terminal = office.admin().get("/v1/terminals/north/till-2").await.unwrap();
    assert!(shown.denied.is_some());
    assert!(remove("/v1/terminals/north/till-2").await.unwrap().denied);
}

#[tokio::test(flavor = "multi_thread")]
async fn removing_a_denied_terminal_keeps_its_denial() {
    let office = Office::start().await;
    let mut branch = office.branch("north", "k1", &["till-1"]).await;
    let remove = async |query: &str| {
        let path = format!("/v1/terminals/north/till-1{query}");
        office.admin().delete::<TerminalRemoved>(&path).await
    };
    let told = async |branch: &crate::support::Branch| {
        let sync = branch.client.get::<wire::v1::sync::Sync>("/v1/sync").await.unwrap();
        sync.denied.unwrap().terminals.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    branch.report(Report::TerminalDenied { terminal: "till-1".parse().unwrap(), denied: true }).await;
    assert!(remove("").await.unwrap().denied);
    assert_eq!(told(&branch).await, ["till-1"]);
    let again = remove("").await.unwrap_err();
    assert!(again.to_string().contains("--allow-again"), "{again}");
    assert_eq!(refusal(remove("").await), Code::WrongState);
    // A branch server that does not know better lets it in: it is denied here all the same, and removed again.
    let seen = || Report::TerminalSeen { facts: crate::support::facts("till-1", "k1"), key: None };
    let shown = async || office.admin().get::<Terminal>("/v1/terminals/north/till-1").await.unwrap();
    branch.report(seen()).await;
    assert!(shown().await.denied.is_some());
    assert!(!remove("?allow_again=true").await.unwrap().denied);
    assert_eq!(told(&branch).await, Vec::<String>::new());
    branch.report(seen()).await;
    assert_eq!(shown().await.denied, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn replaced_keys_are_told_to_the_branch_until_they_are_allowed_again() {
    let office = Office::start().await;
    let mut branch = office.branch("north", "k1", &[]).await;
    let [old, new] = [(); 2].map(|()| trust::SigningKey::generate().unwrap().public().to_string());
    let seen =
        |key: &str| Report::TerminalSeen { facts: crate::support::facts("till-1", "k1"), key: Some(key.to_owned()) };
    let told = async |branch: &crate::support::Branch| {
        branch.client.get::<wire::v1::sync::Sync>("/v1/sync").await.unwrap().denied.unwrap().keys
    };
    let accept = async |key: &str| {
        let body = serde_json::json!({ "key": key });
        office.admin().post::<_, Terminal>("/v1/terminals/north/till-1/key", &body).await.unwrap();
    };
    branch.report(seen(&old)).await;
    branch.report(seen(&new)).await;
    assert_eq!(told(&branch).await, Vec::<String>::new(), "no operator has replaced it yet");
    accept(&new).await;
    assert_eq!(told(&branch).await, std::slice::from_ref(&old));
    // The first disk is back in place.
    branch.report(seen(&old)).await;
    accept(&old).await;
    assert_eq!(told(&branch).await, [new]);
    office.admin().delete::<TerminalRemoved>("/v1/terminals/north/till-1?force=true").await.unwrap();
    assert_eq!(told(&branch).await.len(), 1, "removed, its replaced keys are remembered");
    branch.report(seen(&old)).await;
    let path = "/v1/terminals/north/till-1?force=true&allow_again=true";
    office.admin().delete::<TerminalRemoved>(path).await.unwrap();
    assert_eq!(told(&branch).await, Vec::<String>::new());
}
