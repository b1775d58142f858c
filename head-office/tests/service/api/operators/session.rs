//! Logging in and out.

use chrono::TimeDelta;
use reqwest::Method;
use serde_json::json;
use wire::Code;
use wire::v1::operators::{OperatorRole, Session, WhoAmI};

use crate::support::people::{PASSWORD, body, problem, set_cookie};
use crate::support::{Office, count};

const NEW: &str = "another horse another battery";

#[tokio::test(flavor = "multi_thread")]
async fn a_person_logs_in_works_and_logs_out() {
    let office = Office::start().await;
    office.person("ann", OperatorRole::Admin).await;
    let response = office.try_log_in("ann", PASSWORD).await;
    assert_eq!(response.headers()["cache-control"], "no-store");
    let (value, attributes) = set_cookie(&response);
    for attribute in ["Path=/", "Secure", "HttpOnly", "SameSite=Strict", "Max-Age=43200"] {
        assert!(attributes.split("; ").any(|part| part == attribute), "{attributes}");
    }
    let stored = format!("SELECT count(*) FROM sessions WHERE sha256 = '{}'", service_kit::token::hash(&value));
    assert_eq!(count(&office.pool().await, &stored).await, 1, "only the hash is stored");

    office.clock.advance(TimeDelta::seconds(1));
    let ann = office.log_in("ann").await;
    let who: WhoAmI =
        serde_json::from_value(body(ann.bare(Method::GET, "/v1/session").send().await.unwrap()).await).unwrap();
    assert_eq!((who.name.as_str(), who.role, who.scope), ("ann", OperatorRole::Admin, None));
    assert_eq!(who.csrf_token.as_ref(), Some(&ann.csrf), "a page that was loaded anew learns its token");
    let added = ann.request(Method::POST, "/v1/branches").json(&json!({ "name": "north" })).send().await.unwrap();
    assert_eq!(added.status(), 201);

    let listed = body(ann.bare(Method::GET, "/v1/sessions").send().await.unwrap()).await;
    let sessions: Vec<Session> = serde_json::from_value(listed).unwrap();
    assert_eq!(sessions.iter().map(|s| s.current).collect::<Vec<_>>(), [true, false]);
    assert!(sessions.iter().all(|s| s.address == "127.0.0.1"));
    let other = sessions.iter().find(|s| !s.current).unwrap().id;
    assert_eq!(ann.status(Method::DELETE, &format!("/v1/sessions/{other}")).await, 204);
    assert_eq!(ann.status(Method::DELETE, &format!("/v1/sessions/{other}")).await, 404);

    let out = ann.request(Method::DELETE, "/v1/session").send().await.unwrap();
    assert_eq!(out.status(), 204);
    assert!(set_cookie(&out).1.contains("Max-Age=0"));
    let refused = problem(ann.bare(Method::GET, "/v1/session").send().await.unwrap()).await;
    assert_eq!((refused.code, refused.detail.as_str()), (Code::Unauthenticated, "The session has ended."));
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_ends_the_sessions_of_others() {
    let office = Office::start().await;
    office.person("ann", OperatorRole::Admin).await;
    office.person("ben", OperatorRole::Admin).await;
    let (ann, ben) = (office.log_in("ann").await, office.log_in("ben").await);
    let listed = body(ann.bare(Method::GET, "/v1/sessions").send().await.unwrap()).await;
    let id = listed[0]["id"].as_str().unwrap();
    assert_eq!(ben.status(Method::DELETE, &format!("/v1/sessions/{id}")).await, 404);
    assert_eq!(ann.status(Method::GET, "/v1/session").await, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_ends_when_it_is_left_and_when_it_is_old() {
    let office = Office::start().await;
    office.person("ann", OperatorRole::Viewer).await;
    let ann = office.log_in("ann").await;
    office.clock.advance(TimeDelta::minutes(29));
    assert_eq!(ann.status(Method::GET, "/v1/status").await, 200);
    office.clock.advance(TimeDelta::minutes(29));
    assert_eq!(ann.status(Method::GET, "/v1/status").await, 200, "using it keeps it");
    office.clock.advance(TimeDelta::minutes(31));
    assert_eq!(ann.status(Method::GET, "/v1/status").await, 401, "left for too long");
    let ann = office.log_in("ann").await;
    for _ in 0..24 {
        office.clock.advance(TimeDelta::minutes(29));
        assert_eq!(ann.status(Method::GET, "/v1/status").await, 200);
    }
    office.clock.advance(TimeDelta::minutes(24));
    assert_eq!(ann.status(Method::GET, "/v1/status").await, 401, "twelve hours are over");
}

async fn checks(office: &Office) -> u64 {
    let text = office.stranger().request(Method::GET, "/metrics").send().await.unwrap().text().await.unwrap();
    let line = text.lines().find_map(|l| l.strip_prefix("filial_password_checks_total ")).unwrap();
    line.parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_log_in_does_not_tell_why_and_costs_the_same() {
    let office = Office::start().await;
    for name in ["ann", "gone"] {
        office.person(name, OperatorRole::Viewer).await;
    }
    office.disable("gone", true).await;
    let before = checks(&office).await;
    let tries = [
        ("ann", "wrong password"),
        ("nobody", PASSWORD),
        ("gone", PASSWORD),
        ("viewer", PASSWORD),
        ("No Name!", PASSWORD),
    ];
    let mut answers = Vec::new();
    for (name, password) in tries {
        let response = office.try_log_in(name, password).await;
        assert!(response.headers().get("set-cookie").is_none());
        let problem = problem(response).await;
        answers.push((problem.code, problem.detail, problem.remedy));
    }
    assert_eq!(answers[0].0, Code::LoginRefused);
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
    assert_eq!(checks(&office).await - before, tries.len() as u64, "each is compared with a hash");
    office.disable("gone", false).await;
    office.log_in("gone").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn guesses_are_limited_by_name_and_by_address() {
    let office = Office::start().await;
    office.person("ann", OperatorRole::Viewer).await;
    office.person("ben", OperatorRole::Viewer).await;
    for _ in 0..10 {
        assert_eq!(problem(office.try_log_in("ann", "wrong password").await).await.code, Code::LoginRefused);
    }
    let response = office.try_log_in("ann", PASSWORD).await;
    assert_eq!(response.headers()["retry-after"], "30");
    assert_eq!(problem(response).await.code, Code::TooMany, "also for the right one");
    office.log_in("ben").await;
    for n in 0..40 {
        office.try_log_in(&format!("n{n}"), "wrong password").await;
    }
    let before = checks(&office).await;
    assert_eq!(problem(office.try_log_in("ben", PASSWORD).await).await.code, Code::TooMany, "from this address");
    assert_eq!(checks(&office).await, before, "it costs nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn at_most_twenty_sessions_and_the_oldest_goes() {
    let office = Office::start().await;
    office.person("ann", OperatorRole::Viewer).await;
    let first = office.log_in("ann").await;
    for _ in 0..20 {
        office.clock.advance(TimeDelta::seconds(1));
        office.log_in("ann").await;
    }
    assert_eq!(first.status(Method::GET, "/v1/session").await, 401);
    assert_eq!(count(&office.pool().await, "SELECT count(*) FROM sessions").await, 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_password_ends_all_other_sessions() {
    let office = Office::start().await;
    office.person("ann", OperatorRole::Viewer).await;
    let (here, there) = (office.log_in("ann").await, office.log_in("ann").await);
    let change = async |current: &str, new: &str| {
        let request = here.request(Method::PUT, "/v1/password").json(&json!({ "current": current, "new": new }));
        request.send().await.unwrap()
    };
    assert_eq!(problem(change("wrong password", NEW).await).await.code, Code::LoginRefused);
    let short = problem(change(PASSWORD, "short").await).await;
    assert!(short.code == Code::BadField && !short.detail.contains("short"), "{short:?}");
    assert_eq!(change(PASSWORD, NEW).await.status(), 204);
    assert_eq!(here.status(Method::GET, "/v1/session").await, 200);
    assert_eq!(there.status(Method::GET, "/v1/session").await, 401);
    assert_eq!(office.try_log_in("ann", PASSWORD).await.status(), 401);
    assert_eq!(office.try_log_in("ann", NEW).await.status(), 200);

    // An admin's word for a person who forgot it; not for the own account, nor for a service.
    let set = async |name: &str| {
        let request = office.admin().request(Method::PUT, &format!("/v1/operators/{name}/password"));
        request.json(&json!({ "new": PASSWORD, "reason": "forgotten" })).send().await.unwrap()
    };
    assert_eq!(set("ann").await.status(), 204);
    assert_eq!(here.status(Method::GET, "/v1/session").await, 401);
    office.log_in("ann").await;
    assert_eq!(problem(set("admin").await).await.code, Code::OwnAccount);
    assert_eq!(problem(set("viewer").await).await.code, Code::WrongState);
    assert_eq!(problem(set("nobody").await).await.code, Code::NotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_operator_may_do_changes_at_once() {
    let office = Office::start().await;
    office.person("ann", OperatorRole::Admin).await;
    office.person("ben", OperatorRole::Admin).await;
    let ann = office.log_in("ann").await;
    let patch = async |body| {
        let request = office.admin().request(Method::PATCH, "/v1/operators/ann").json(&body);
        assert_eq!(request.send().await.unwrap().status(), 200);
    };
    assert_eq!(ann.status(Method::GET, "/v1/operators").await, 200);
    patch(json!({ "role": "viewer" })).await;
    assert_eq!(ann.status(Method::GET, "/v1/operators").await, 403);
    patch(json!({ "disabled": true })).await;
    assert_eq!(ann.status(Method::GET, "/v1/session").await, 401);
    patch(json!({ "disabled": false })).await;
    assert_eq!(ann.status(Method::GET, "/v1/session").await, 401, "its sessions ended");
}
