use fleet_types::ReleaseState;
use reqwest::Method;
use serde_json::json;
use service_kit::server::Role;
use wire::v1::fleet::{Assigned, PlanIssued};
use wire::v1::status::{LeftOut, Status};

use crate::support::{Office, begin, published, status_of};

#[tokio::test(flavor = "multi_thread")]
async fn the_overview_shows_releases_branches_and_terminals_as_they_are() {
    let office = Office::start().await;
    let artifact = published(&office, "kiosk", "2.0.0", "k1").await;
    let mut branch = office.branch("north", "k1", &["till-1"]).await;
    branch.runs("till-1", "1.0.0").await;
    office.add_branch("east").await;
    let body = json!({ "branch": "north", "product": "kiosk", "version": "2.0.0" });
    let plan: PlanIssued = office.admin().post("/v1/assignments", &body).await.unwrap();
    let status: Status = office.as_role(Role::Viewer).get("/v1/status").await.unwrap();
    assert_eq!(status.now, begin());
    assert_eq!((status.left_out, status.alerts.len(), status.incidents.len()), (LeftOut::default(), 0, 0));

    let tasks: Vec<&str> = status.background.iter().map(|task| task.name.as_str()).collect();
    assert_eq!(
        tasks,
        ["seeding", "metadata", "plans", "plans-after-reports", "past-plans", "retention", "uploads", "gauges"]
    );

    let [release] = &status.releases[..] else { panic!("{:?}", status.releases) };
    assert_eq!(release.product.as_ref().unwrap().as_str(), "kiosk");
    assert_eq!(release.version.as_ref().unwrap().to_string(), "2.0.0");
    assert_eq!(release.state, ReleaseState::Published);
    assert_eq!(release.payloads.len(), 1);
    assert_eq!(release.payloads[0].artifact.as_ref(), Some(&artifact));

    let [east, north] = &status.branches[..] else { panic!("{:?}", status.branches) };
    assert_eq!((east.name.as_str(), east.enrolled, east.terminals), ("east", false, 0));
    assert_eq!((east.plan_serial, east.last_heard), (None, None));
    assert_eq!((north.name.as_str(), north.enrolled, north.denied), ("north", true, None));
    assert_eq!((north.last_heard, north.plan_serial), (Some(begin()), Some(plan.serial)));
    assert_eq!((north.terminals, north.confirmed), (1, 0));
    let assigned = Assigned { product: "kiosk".parse().unwrap(), version: "2.0.0".parse().unwrap() };
    assert_eq!(north.assignments, [assigned]);
    let [wanted] = &north.artifacts[..] else { panic!("{:?}", north.artifacts) };
    assert_eq!((wanted.artifact, wanted.length), (artifact.sha256, artifact.length));
    assert_eq!((wanted.have_bytes, wanted.complete), (0, false), "the branch said nothing of it yet");

    let [terminal] = &status.terminals[..] else { panic!("{:?}", status.terminals) };
    assert_eq!((terminal.branch.as_str(), terminal.name.as_str(), terminal.model.as_str()), ("north", "till-1", "k1"));
    assert_eq!(terminal.version.as_ref().unwrap().to_string(), "1.0.0");
    assert_eq!((&terminal.update, terminal.last_heard), (&None, Some(begin())));
    assert_eq!(status_of(&office.stranger(), Method::GET, "/v1/status").await, 401);
    assert_eq!(status_of(&office.admin(), Method::POST, "/v1/status").await, 405);
}

#[tokio::test(flavor = "multi_thread")]
async fn terminals_of_one_large_branch_do_not_fill_the_overview() {
    let office = Office::start().await;
    office.branch("east", "k1", &["till-1"]).await;
    office.branch("north", "k1", &["till-1", "till-2"]).await;
    let many =
        "INSERT INTO terminals (branch, name, model, slot_bytes, data_bytes, agent_version, created_at, last_heard)
        SELECT 'east', 'x-' || n, 'k1', 1, 1, '1', now(), now() FROM generate_series(1, 1200) AS n";
    let pool = office.pool().await;
    service_kit::database::connection(&pool).await.unwrap().execute(many, &[]).await.unwrap();
    let status: Status = office.as_role(Role::Viewer).get("/v1/status").await.unwrap();
    let of = |branch: &str| status.terminals.iter().filter(|t| t.branch.as_str() == branch).count();
    assert_eq!((of("east"), of("north"), status.left_out.terminals), (998, 2, 203));
}
