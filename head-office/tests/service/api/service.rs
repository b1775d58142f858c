//! Health, metrics and the API's description.

use std::collections::BTreeSet;

use reqwest::Method;
use serde_json::Value;
use service_kit::server::Role;
use wire::{Code, Problem};

use crate::support::archive::{Recipe, pack};
use crate::support::{Office, PATIENCE, daemons::Daemons, status_of, tus};

#[tokio::test(flavor = "multi_thread")]
async fn it_is_healthy_while_it_runs_and_ready_only_with_its_daemon() {
    let office = Office::start().await;
    for client in [office.stranger(), office.machine(None)] {
        assert_eq!(status_of(&client, Method::GET, "/healthz").await, 200);
    }
    let answer = office.stranger().request(Method::GET, "/readyz").send().await.unwrap();
    assert_eq!(answer.status(), 503);
    let problem: Problem = answer.json().await.unwrap();
    assert_eq!(problem.code, Code::NotReady);
    assert!(problem.detail.contains("engine: no BitTorrent daemon answers at http://127.0.0.1"), "{}", problem.detail);
    assert!(!problem.detail.contains("database"), "{}", problem.detail);
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_ready_with_a_real_daemon() {
    let daemons = Daemons::start();
    let office = Office::with(|settings| daemons.apply_to(settings)).await;
    test_kit::wait_for("head office to be ready", PATIENCE, async || {
        match status_of(&office.stranger(), Method::GET, "/readyz").await {
            200 => Ok(()),
            other => Err(other),
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_count_requests_by_pattern() {
    let office = Office::start().await;
    status_of(&office.admin(), Method::GET, "/v1/branches/nowhere").await;
    status_of(&office.admin(), Method::GET, "/invented/by/a/stranger").await;
    let text = office.stranger().request(Method::GET, "/metrics").send().await.unwrap().text().await.unwrap();
    let line = "filial_http_requests_total{method=\"GET\",path=\"/v1/branches/{branch}\",status=\"404\"} 1";
    assert!(text.contains(line), "{text}");
    assert!(!text.contains("invented"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_id_crosses_programs() {
    let office = Office::start().await;
    let answer =
        office.stranger().request(Method::GET, "/v1/status").header("X-Request-Id", "abc-1").send().await.unwrap();
    assert_eq!(answer.headers()["x-request-id"], "abc-1");
    assert_eq!(answer.json::<Problem>().await.unwrap().request_id.as_deref(), Some("abc-1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_document_describes_every_route_and_nothing_else() {
    let office = Office::start().await;
    let document: Value = office.stranger().get("/openapi.json").await.unwrap();
    let mut described = BTreeSet::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for method in methods.as_object().unwrap().keys() {
            described.insert(format!("{} {path}", method.to_uppercase()));
        }
    }
    let routes: BTreeSet<String> = head_office::http::table::operator_routes()
        .iter()
        .filter(|r| !["/openapi.json", "/swagger-ui/{file:.*}"].contains(&&*r.path))
        .map(|r| format!("{} {}", r.method, r.path))
        .collect();
    assert_eq!(described, routes);
    assert_eq!(serde_json::to_value(head_office::http::table::operator_document()).unwrap(), document);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_browser_needs_no_other_server() {
    let office = Office::start().await;
    let page = office.stranger().request(Method::GET, "/swagger-ui/index.html").send().await.unwrap();
    assert_eq!(page.status(), 200);
    let text = page.text().await.unwrap();
    assert!(text.contains("swagger-ui") && !text.contains("https://"), "{text}");
    assert_eq!(status_of(&office.stranger(), Method::GET, "/swagger-ui/nothing.js").await, 404);
}

/// The names in the table of the README, as `/metrics` declares them: a counter's without its suffix.
fn documented() -> BTreeSet<String> {
    let readme = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md"));
    let rows = readme.lines().filter_map(|line| line.strip_prefix("| `filial_")?.split_once('`'));
    rows.map(|(name, _)| format!("filial_{}", name.strip_suffix("_total").unwrap_or(name))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_metric_is_documented_and_every_documented_metric_is_there() {
    let office = Office::start().await;
    office.branch("north", "kiosk-x86", &["till-1"]).await;
    let manager = office.as_role(Role::ReleaseManager);
    let file = pack(office.dir.path(), &Recipe::default());
    // Judged well, and then not published, as there are no daemons: every kind of number has something to show.
    tus::upload(&manager, &std::fs::read(file).unwrap()).await;
    let shown = async || -> BTreeSet<String> {
        let text = office.stranger().request(Method::GET, "/metrics").send().await.unwrap().text().await.unwrap();
        let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
        types.filter_map(|line| line.split(' ').next()).map(str::to_owned).collect()
    };
    test_kit::wait_for("all metrics to have something to show", PATIENCE, async || {
        let shown = shown().await;
        if shown == documented() { Ok(()) } else { Err(format!("{shown:?} are shown, {:?} documented", documented())) }
    })
    .await;
}
