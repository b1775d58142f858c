//! The operators' listener: /v1/status, /v1/terminals, and what every listener of people has.

use reqwest::StatusCode;
use serde_json::Value;
use wire::Code;
use wire::v1::fleet::Terminal;
use wire::v1::status::Status;

use crate::plans::plan;
use crate::support::{Branch, JOIN, Options, VIEWER, assert_refused};

#[tokio::test(flavor = "multi_thread")]
async fn status_has_the_shape_of_head_offices_and_more() {
    let branch = Branch::enrolled().await;
    branch.enrol("till-1").await;
    branch.head_office.offer(&plan(7));
    branch.app.poll.once().await.unwrap();
    let status = branch.status().await;
    let shared: Status = serde_json::from_value(status.clone()).unwrap();
    assert_eq!(shared.branches[0].name.as_str(), "north");
    assert_eq!((shared.branches[0].plan_serial, shared.branches[0].terminals), (Some(7), 1));
    assert_eq!(shared.branches[0].assignments[0].version.to_string(), "2.0.0");
    assert_eq!(shared.terminals[0].name.as_str(), "till-1");
    assert_eq!(status["head_office"]["reachable"], true);
    assert_eq!(status["head_office"]["reports_waiting"], 1);
    assert_eq!(status["plan"]["serial"], 7);
}

#[tokio::test(flavor = "multi_thread")]
async fn before_enrolment_status_says_so() {
    let branch = Branch::start(Options::default()).await;
    let status = branch.status().await;
    assert_eq!(status["head_office"]["enrolled"], false);
    assert_eq!(status["branches"].as_array().unwrap().len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn terminals_are_listed_by_name() {
    let branch = Branch::enrolled().await;
    for name in ["till-2", "till-1"] {
        branch.enrol(name).await;
    }
    let response = branch.get(branch.operators, "/v1/terminals", Some(VIEWER)).await;
    let list: Vec<Terminal> = response.json().await.unwrap();
    assert_eq!(list.iter().map(|t| t.name.as_str()).collect::<Vec<_>>(), ["till-1", "till-2"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_terminals_and_unknown_paths_are_turned_away() {
    let branch = Branch::enrolled().await;
    for path in ["/v1/status", "/v1/terminals"] {
        assert_refused(branch.get(branch.operators, path, None).await, Code::Unauthenticated).await;
        assert_refused(branch.get(branch.operators, path, Some(JOIN)).await, Code::Unauthenticated).await;
    }
    assert_refused(branch.get(branch.operators, "/v1/sync", Some(VIEWER)).await, Code::RouteMissing).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_service_routes_are_open() {
    let branch = Branch::enrolled().await;
    for path in ["/healthz", "/metrics", "/openapi.json", "/swagger-ui/index.html"] {
        assert_eq!(branch.get(branch.operators, path, None).await.status(), StatusCode::OK, "{path}");
    }
    assert_eq!(branch.get(branch.machines, "/healthz", None).await.status(), StatusCode::OK);
    assert_refused(branch.get(branch.machines, "/metrics", None).await, Code::RouteMissing).await;
    let document: Value = branch.get(branch.operators, "/openapi.json", None).await.json().await.unwrap();
    assert!(document["paths"]["/v1/status"]["get"].is_object());
}

#[tokio::test(flavor = "multi_thread")]
async fn not_ready_names_the_missing_daemon_and_not_head_office() {
    let branch = Branch::start(Options::default()).await;
    let response = branch.get(branch.operators, "/readyz", None).await;
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    let problem: wire::Problem = response.json().await.unwrap();
    assert_eq!(problem.code, Code::NotReady);
    assert!(problem.detail.contains("engine") && !problem.detail.contains("database"), "{}", problem.detail);
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_are_brought_up_to_date_and_documented() {
    let branch = Branch::enrolled().await;
    branch.enrol("till-1").await;
    branch_server::background::housekeeping(&branch.app).once().await.unwrap();
    let text = branch.get(branch.operators, "/metrics", None).await.text().await.unwrap();
    for line in ["filial_branch_terminals 1", "filial_branch_relay_waiting 1", "filial_http_requests_total{"] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
    let readme = include_str!("../../README.md");
    for name in text.lines().filter_map(|l| l.strip_prefix("# TYPE ")).filter_map(|l| l.split(' ').next()) {
        assert!(readme.contains(&format!("`{name}")), "{name} is not in README.md");
    }
}
