//! /v1/terminals/{name}/identity, …/deny and …/allow

use fleet_types::UpdateState;
use futures_util::StreamExt;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use trust::certificates::{TlsKey, request_key};
use uuid::Uuid;
use wire::Code;
use wire::v1::paths;

use crate::reports::{batch, moved, send};
use crate::support::{ADMIN, Branch, JOIN, OPERATOR, PATIENCE, VIEWER, assert_refused, name};

async fn told(branch: &Branch, path: &str, body: Value) -> Value {
    let answer = branch.send(Method::POST, path, Some(ADMIN), body.to_string()).await;
    assert_eq!(answer.status(), StatusCode::OK, "{}", answer.text().await.unwrap());
    answer.json().await.unwrap()
}

async fn shown(branch: &Branch) -> Value {
    let path = paths::terminal_identity(&name("till-1"));
    branch.get(branch.operators, &path, Some(VIEWER)).await.json().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_denied_terminal_is_cut_off_at_once_and_comes_back_when_it_is_allowed() {
    let branch = Branch::enrolled().await;
    let (till, key) = (branch.enrol("till-1").await, branch.key("till-1"));
    let other = branch.enrol("till-2").await;
    let mut events = branch.ask("/v1/events", &till).await.bytes_stream();
    let [deny, allow] = [paths::terminal_deny(&name("till-1")), paths::terminal_allow(&name("till-1"))];
    let denied = told(&branch, &deny, json!({ "reason": "broken", "keep_join_token": true })).await;
    assert!(denied["denied"].is_string() && denied["join_token_replaced"] == false, "{denied}");
    // On the connection that is open, too.
    let ended = async { while events.next().await.is_some_and(|chunk| chunk.is_ok()) {} };
    tokio::time::timeout(PATIENCE, ended).await.unwrap();
    for path in ["/v1/sync", "/v1/events"] {
        assert_refused(branch.ask(path, &till).await, Code::IdentityDenied).await;
    }
    for join in [None, Some(JOIN)] {
        assert_refused(branch.try_enrol(join, "till-1", &key).await, Code::IdentityDenied).await;
    }
    assert_eq!(branch.ask("/v1/sync", &other).await.status(), StatusCode::OK);
    let list = branch.get(branch.operators, "/v1/terminals", Some(VIEWER)).await.json::<Value>().await.unwrap();
    assert!(list[0]["denied"].is_string() && list[1].get("denied").is_none(), "{list}");
    // It outlives a restart.
    let branch = branch.restart(crate::support::Options::default()).await;
    let till = branch.till(key, till.answer);
    assert_refused(branch.ask("/v1/sync", &till).await, Code::IdentityDenied).await;
    assert_eq!(told(&branch, &allow, json!({})).await["denied"], Value::Null);
    assert_eq!(branch.ask("/v1/sync", &till).await.status(), StatusCode::OK);
    // Head office hears of both, and of the facts in case it has forgotten the terminal.
    let denials = async || {
        let client = branch.app.pool.get().await.unwrap();
        let rows = client.query("select report from relay_queue order by seq", &[]).await.unwrap();
        rows.iter().map(|row| row.get::<_, String>(0)).filter(|text| text.contains("denied")).collect::<Vec<_>>()
    };
    let denials = denials().await;
    assert_eq!(denials.len(), 1, "only the newest that was not sent waits: {denials:?}");
    assert!(denials[0].contains("\"denied\":false") && denials[0].contains("till-1"), "{denials:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_key_waits_for_an_admin_and_ends_the_old_one() {
    let branch = Branch::enrolled().await;
    let (old, new) = (branch.enrol("till-1").await, TlsKey::generate().unwrap());
    assert_refused(branch.try_enrol(Some(JOIN), "till-1", &new).await, Code::OtherKey).await;
    let digest = request_key(&new.request().unwrap()).unwrap();
    let asked = shown(&branch).await;
    assert_eq!(asked["asked"]["key"], json!(digest), "{asked}");
    let own = request_key(&branch.key("till-1").request().unwrap()).unwrap();
    assert_eq!(asked["key"], json!(own));
    assert!(asked["certificate_expires"].is_string());
    let alerts = async || branch.status().await["alerts"].clone();
    let alert = alerts().await[0].clone();
    let remedy = alert["remedy"].as_str().unwrap();
    assert_eq!((&alert["code"], &alert["params"]["machine"]), (&json!("key-asked"), &json!("till-1")), "{alert}");
    assert!(remedy.contains(&format!("terminal allow till-1 --at north --key {digest}")), "{remedy}");

    let allow = paths::terminal_allow(&name("till-1"));
    let allowed = told(&branch, &allow, json!({ "key": digest })).await;
    assert_eq!((&allowed["key"], &allowed["asked"]), (&json!(digest), &Value::Null));
    assert!(alerts().await.as_array().is_none_or(Vec::is_empty));
    assert_refused(branch.ask("/v1/sync", &old).await, Code::OtherKey).await;
    assert_refused(branch.try_enrol(None, "till-1", &branch.key("till-1")).await, Code::JoinRefused).await;
    let answer = branch.try_enrol(Some(JOIN), "till-1", &new).await;
    let till = branch.till(new, answer.json().await.unwrap());
    assert_eq!(branch.ask("/v1/sync", &till).await.status(), StatusCode::OK);
}

/// A machine that was written again, perhaps with a withdrawn image: that the old disk had confirmed an update says nothing.
#[tokio::test(flavor = "multi_thread")]
async fn confirmed_with_other_bytes_a_new_key_starts_without_an_update() {
    let branch = Branch::enrolled().await;
    let (till, new) = (branch.enrol("till-1").await, TlsKey::generate().unwrap());
    let confirmed = batch(Uuid::new_v4(), 1, vec![moved("till-1", None, UpdateState::Confirmed, 10)]);
    assert_eq!(send(&branch, &till, &confirmed).await.status(), StatusCode::OK);
    let update = async || {
        let list = branch.get(branch.operators, "/v1/terminals", Some(VIEWER)).await;
        list.json::<Value>().await.unwrap()[0]["update"].clone()
    };
    assert_eq!(update().await["state"], "confirmed");
    let allow = paths::terminal_allow(&name("till-1"));
    // Allowed again with the key that it has, it is the same machine.
    let own = request_key(&branch.key("till-1").request().unwrap()).unwrap();
    told(&branch, &allow, json!({ "key": own })).await;
    assert_eq!(update().await["state"], "confirmed");
    told(&branch, &allow, json!({ "key": request_key(&new.request().unwrap()).unwrap() })).await;
    assert_eq!(update().await, Value::Null);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_admins_change_identities_and_bad_input_has_its_codes() {
    let branch = Branch::enrolled().await;
    branch.enrol("till-1").await;
    branch.enrol("till-2").await;
    let send = async |path: &str, token, body: Value| branch.send(Method::POST, path, token, body.to_string()).await;
    for path in [paths::terminal_deny(&name("till-1")), paths::terminal_allow(&name("till-1"))] {
        assert_refused(send(&path, None, json!({})).await, Code::Unauthenticated).await;
        assert_refused(send(&path, Some(OPERATOR), json!({})).await, Code::Forbidden).await;
        assert_refused(send(&path, Some(ADMIN), json!({ "x": 1 })).await, Code::BadField).await;
        let nobody = path.replace("till-1", "nobody");
        assert_refused(send(&nobody, Some(ADMIN), json!({})).await, Code::NotFound).await;
        assert_refused(send(&path.replace("till-1", "..%2fx"), Some(ADMIN), json!({})).await, Code::BadField).await;
    }
    let of_another = request_key(&branch.key("till-2").request().unwrap()).unwrap();
    let allow = paths::terminal_allow(&name("till-1"));
    assert_refused(send(&allow, Some(ADMIN), json!({ "key": of_another })).await, Code::NameTaken).await;
    assert_refused(send(&allow, Some(ADMIN), json!({ "key": "07" })).await, Code::BadField).await;
    assert_eq!(shown(&branch).await["denied"], Value::Null);
}
