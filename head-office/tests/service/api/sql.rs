//! SQL in every text field of every operators' route: nothing breaks, and nothing else changes.

use std::collections::BTreeSet;

use base64::Engine as _;
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use test_kit::{Snapshot, snapshot};

use crate::support::people::PASSWORD;
use crate::support::{Office, published};

const TEXTS: [&str; 5] = [
    "'; DROP TABLE operators; --",
    "x' OR '1'='1",
    "\"; UPDATE operators SET role = 'admin'; --",
    "$1 \\' %s {0} /* */",
    "a\u{0}b\u{202e}\u{1b}[0m",
];

/// A body that each route would take, with every text field of its message.
fn bodies() -> Vec<(&'static str, Value)> {
    vec![
        ("POST /v1/session", json!({ "name": "ann", "password": PASSWORD })),
        ("PUT /v1/password", json!({ "current": PASSWORD, "new": PASSWORD })),
        (
            "POST /v1/tokens",
            json!({ "name": "t", "role": "viewer", "scope": ["releases"], "operator": "viewer", "reason": "r" }),
        ),
        ("POST /v1/operators", json!({ "name": "ben", "role": "viewer", "password": PASSWORD, "reason": "r" })),
        ("PATCH /v1/operators/{name}", json!({ "role": "operator", "reason": "r" })),
        ("PUT /v1/operators/{name}/password", json!({ "new": PASSWORD, "reason": "r" })),
        ("POST /v1/releases/{id}/approve", json!({ "reason": "r" })),
        ("POST /v1/releases/{id}/withdraw", json!({ "reason": "r" })),
        ("POST /v1/branches", json!({ "name": "east" })),
        ("POST /v1/branches/{branch}/deny", json!({ "reason": "r" })),
        ("POST /v1/branches/{branch}/allow", json!({ "reason": "r" })),
        ("POST /v1/branches/{branch}/reports", json!({ "epoch": "x", "reports": ["x"] })),
        ("POST /v1/terminals/{branch}/{name}/key", json!({ "key": "0".repeat(64), "reason": "r" })),
        ("POST /v1/assignments", json!({ "branch": "north", "product": "kiosk", "version": "1.0.0" })),
    ]
}

/// Which tables a request may change when it succeeds.
fn lawful(path: &str) -> &'static [&'static str] {
    match path.split('/').nth(2).unwrap() {
        "tokens" => &["tokens"],
        "operators" | "password" | "session" => &["operators", "sessions"],
        "branches" => &["branches", "events", "outbox"],
        "terminals" => &["terminals"],
        "assignments" => &["assignments", "plans", "events", "outbox"],
        "releases" => &["releases", "assignments", "plans", "events", "outbox", "jobs"],
        "uploads" => &["releases"],
        _ => &[],
    }
}

/// A value with the attack in place of each text in turn.
fn attacked(body: &Value, text: &str) -> Vec<Value> {
    let fields = body.as_object().unwrap();
    fields
        .iter()
        .map(|(name, value)| {
            let mut other = body.clone();
            other[name] = if value.is_array() { json!([text]) } else { json!(text) };
            other
        })
        .collect()
}

/// Every JSON text field that the API's description has is in [`bodies`].
fn assert_complete(document: &Value) {
    let known = bodies();
    let mut described = BTreeSet::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let schema = &operation["requestBody"]["content"]["application/json"]["schema"]["$ref"];
            let Some(name) = schema.as_str().and_then(|r| r.rsplit('/').next()) else { continue };
            let route = format!("{} {path}", method.to_uppercase());
            let body = known.iter().find(|(r, _)| *r == route).map(|(_, body)| body);
            let body = body.unwrap_or_else(|| panic!("{route} has no body here"));
            for (field, schema) in document["components"]["schemas"][name]["properties"].as_object().unwrap() {
                let kind = serde_json::to_string(schema).unwrap();
                let plain = kind.contains("\"boolean\"") || kind.contains("\"integer\"");
                assert!(plain || body.get(field).is_some(), "{route}: {field} is not attacked: {kind}");
            }
            described.insert(route);
        }
    }
    assert_eq!(described, known.iter().map(|(r, _)| (*r).to_owned()).collect());
}

/// As a path or query carries it.
fn escaped(text: &str) -> String {
    text.bytes().map(|b| format!("%{b:02X}")).collect()
}

/// All requests with the attack in one place each.
fn requests(office: &Office, document: &Value, text: &str) -> Vec<(String, RequestBuilder)> {
    let admin = office.admin();
    let mut all = Vec::new();
    for (route, body) in bodies() {
        let (method, path) = route.split_once(' ').unwrap();
        let path = path.replace("{id}", "00000000-0000-4000-8000-000000000000").replace("{name}", "ann");
        let path = path.replace("{branch}", "north");
        for body in attacked(&body, text) {
            let request = admin.request(Method::from_bytes(method.as_bytes()).unwrap(), &path).json(&body);
            all.push((format!("{route} {body}"), request));
        }
    }
    for route in head_office::http::table::operator_routes() {
        let parts: Vec<&str> = route.path.split('/').collect();
        let method = Method::from_bytes(route.method.as_str().as_bytes()).unwrap();
        for (i, _) in parts.iter().enumerate().filter(|(_, part)| part.starts_with('{')) {
            let mut parts: Vec<String> = parts.iter().map(|part| part.replace(['{', '}'], "")).collect();
            parts[i] = escaped(text);
            let body = json!({ "role": "viewer", "reason": "r", "new": PASSWORD });
            all.push((format!("{route:?} {i}"), admin.request(method.clone(), &parts.join("/")).json(&body)));
        }
    }
    for (path, methods) in document["paths"].as_object().unwrap() {
        for parameter in methods["get"]["parameters"].as_array().into_iter().flatten() {
            if parameter["in"] == "query" {
                let path = path.replace("{branch}", "north");
                let query = format!("{path}?{}={}", parameter["name"].as_str().unwrap(), escaped(text));
                all.push((query.clone(), admin.request(Method::GET, &query)));
            }
        }
    }
    let name = base64::engine::general_purpose::STANDARD.encode(text);
    let upload = admin.request(Method::POST, "/v1/uploads").header("Tus-Resumable", "1.0.0");
    let upload = upload.header("Upload-Length", "10").header("Upload-Metadata", format!("filename {name}"));
    all.push(("POST /v1/uploads filename".into(), upload));
    all.push(("a token".into(), office.stranger().request(Method::GET, "/v1/status").bearer_auth(escaped(text))));
    let cookie = format!("{}={}", crate::support::people::COOKIE, escaped(text));
    all.push(("a cookie".into(), office.stranger().request(Method::GET, "/v1/status").header("Cookie", cookie)));
    all
}

/// What differs, by table; files of uploads and the anchor come and go with their rows.
fn changed(before: &Snapshot, after: &Snapshot) -> BTreeSet<String> {
    let keys = before.keys().chain(after.keys()).filter(|key| before.get(*key) != after.get(*key));
    keys.filter_map(|key| key.strip_prefix("table ")).map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn sql_in_every_text_field() {
    let office = Office::start().await;
    office.person("ann", wire::v1::operators::OperatorRole::Viewer).await;
    published(&office, "kiosk", "1.0.0", "k1").await;
    office.branch("north", "k1", &["till-1"]).await;
    let document: Value = office.stranger().get("/openapi.json").await.unwrap();
    assert_complete(&document);
    let look = async || snapshot(&office.database.url(), &["last_used"], &[]).await;
    let (mut before, mut answered) = (look().await, 0);
    for text in TEXTS {
        for (name, request) in requests(&office, &document, text) {
            let path = request.try_clone().unwrap().build().unwrap().url().path().to_owned();
            let response = request.send().await.unwrap();
            let status = response.status();
            assert!(status.as_u16() < 500, "{name}: {status} {:?}", response.text().await);
            let after = look().await;
            let changed = changed(&before, &after);
            let allowed: BTreeSet<String> = match status.is_success() {
                true => lawful(&path).iter().chain(&["audit", "audit_head"]).map(|t| (*t).to_owned()).collect(),
                false => BTreeSet::new(),
            };
            assert!(changed.is_subset(&allowed), "{name}: {status} changed {changed:?}");
            (before, answered) = (after, answered + 1);
        }
    }
    assert!(answered > 200, "only {answered} requests");
    let pool = office.pool().await;
    let admins = "SELECT count(*) FROM operators WHERE role = 'admin'";
    assert_eq!(crate::support::count(&pool, admins).await, 1, "nobody became one");
    // What may be any text is kept as it came.
    let kept = "SELECT count(DISTINCT reason) FROM audit WHERE reason LIKE '%DROP TABLE operators%'";
    assert_eq!(crate::support::count(&pool, kept).await, 1);
}
