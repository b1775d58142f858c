//! Attacks on the operators' listener, each under its name in the threat model.

use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use service_kit::server::Role;
use wire::Code;
use wire::v1::operators::{NewToken, OperatorRole, TokenMade};

use crate::support::people::{COOKIE, PASSWORD, new_token, problem, set_cookie};
use crate::support::{Office, count};

fn add_branch(request: RequestBuilder) -> RequestBuilder {
    request.json(&json!({ "name": "north" }))
}

#[tokio::test(flavor = "multi_thread")]
async fn csrf() {
    let office = Office::start().await;
    office.person("ann", OperatorRole::Admin).await;
    let (ann, ben) = (office.log_in("ann").await, office.log_in("ann").await);
    let bare = || add_branch(ann.bare(Method::POST, "/v1/branches"));
    let own = office.origin();
    let evil = "http://evil.example";
    let attacks = [
        ("the cookie alone", bare()),
        ("our origin without the token", bare().header("Origin", &own)),
        ("the token without an origin", bare().header("X-Filial-Csrf", &ann.csrf)),
        ("another session's token", bare().header("Origin", &own).header("X-Filial-Csrf", &ben.csrf)),
        ("another site with the token", bare().header("Origin", evil).header("X-Filial-Csrf", &ann.csrf)),
        ("another port", bare().header("Origin", "https://127.0.0.1:1").header("X-Filial-Csrf", &ann.csrf)),
        ("a page without origin", bare().header("Origin", "null").header("X-Filial-Csrf", &ann.csrf)),
        (
            "a sister site",
            bare().header("Origin", &own).header("Sec-Fetch-Site", "same-site").header("X-Filial-Csrf", &ann.csrf),
        ),
        ("a form", bare().header("Sec-Fetch-Site", "cross-site").header("Content-Type", "text/plain")),
    ];
    for (name, request) in attacks {
        assert_eq!(problem(request.send().await.unwrap()).await.code, Code::CrossSite, "{name}");
    }
    // Each unsafe route asks for the proof before anything else.
    for route in head_office::http::table::operator_routes() {
        let unsafe_method = !["GET", "HEAD", "OPTIONS"].contains(&route.method.as_str());
        if unsafe_method && !route.role.is_open() {
            let method = Method::from_bytes(route.method.as_str().as_bytes()).unwrap();
            let answer = ann.bare(method, &crate::api::table::example(&route)).send().await.unwrap();
            assert_eq!(problem(answer).await.code, Code::CrossSite, "{route:?}");
        }
    }
    // Another site's page cannot log a browser in either.
    let request = office.stranger().request(Method::POST, "/v1/session").header("Origin", evil);
    let answer = request.json(&json!({ "name": "ann", "password": PASSWORD })).send().await.unwrap();
    assert_eq!(problem(answer).await.code, Code::CrossSite);
    assert_eq!(count(&office.pool().await, "SELECT count(*) FROM branches").await, 0);
    assert_eq!(add_branch(ann.request(Method::POST, "/v1/branches")).send().await.unwrap().status(), 201);
}

#[tokio::test(flavor = "multi_thread")]
async fn session_fixation() {
    let office = Office::start().await;
    office.person("ann", OperatorRole::Viewer).await;
    let log_in = async |cookies: &str| {
        let request = office.stranger().request(Method::POST, "/v1/session").header("Cookie", cookies);
        request.json(&json!({ "name": "ann", "password": PASSWORD })).send().await.unwrap()
    };
    // A value that an attacker chose and planted is not adopted.
    let planted = "session-0000000000000000000000000000000000000000000000000000000000000000";
    let given = set_cookie(&log_in(&format!("{COOKIE}={planted}")).await).0;
    assert_ne!(given, planted);
    let with = |value: &str| {
        let request = office.stranger().request(Method::GET, "/v1/session");
        request.header("Cookie", format!("{COOKIE}={value}")).send()
    };
    assert_eq!(with(planted).await.unwrap().status(), 401);
    assert_eq!(with(&given).await.unwrap().status(), 200);
    // Nor is a session that an attacker has of its own, or had before the log-in: it ends there.
    let next = set_cookie(&log_in(&format!("{COOKIE}={planted}; {COOKIE}={given}")).await).0;
    assert_ne!(next, given);
    assert_eq!(with(&given).await.unwrap().status(), 401);
    assert_eq!(with(&next).await.unwrap().status(), 200);
    // A second cookie of the name, planted beside the real one, makes both useless.
    let request = office.stranger().request(Method::GET, "/v1/session");
    let both = request.header("Cookie", format!("{COOKIE}={next}; {COOKIE}={planted}")).send().await.unwrap();
    assert_eq!(both.status(), 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn role_escalation() {
    use OperatorRole::{Admin, Operator, ReleaseManager, Viewer};
    let office = Office::start().await;
    let roles = [(Role::Viewer, Viewer), (Role::Operator, Operator), (Role::ReleaseManager, ReleaseManager)];
    let patch = async |by: Role, name: &str, body: Value| {
        let request = office.as_role(by).request(Method::PATCH, &format!("/v1/operators/{name}"));
        problem(request.json(&body).send().await.unwrap()).await.code
    };
    for (role, own) in roles {
        // No role below admin changes or adds operators …
        assert_eq!(patch(role, role.as_str(), json!({ "role": "admin" })).await, Code::Forbidden);
        let add = office.as_role(role).request(Method::POST, "/v1/operators");
        let answer = add.json(&json!({ "name": "eve", "role": "admin", "password": PASSWORD })).send().await.unwrap();
        assert_eq!(problem(answer).await.code, Code::Forbidden);
        let set = office.as_role(role).request(Method::PUT, "/v1/operators/admin/password");
        let answer = set.json(&json!({ "new": PASSWORD })).send().await.unwrap();
        assert_eq!(problem(answer).await.code, Code::Forbidden);
        // … or makes a token above the own role, for itself or for a stronger service.
        for wanted in OperatorRole::ALL.into_iter().filter(|wanted| *wanted > own) {
            let new = new_token("up", wanted);
            let stronger = NewToken { operator: Some("admin".parse().unwrap()), ..new.clone() };
            for new in [&new, &stronger] {
                let refused = office.as_role(role).post::<_, TokenMade>("/v1/tokens", new).await;
                assert_eq!(crate::api::refusal(refused), Code::Forbidden, "{wanted} by {own}");
            }
        }
    }
    // An admin with a viewer's token is a viewer, and its token stays one.
    let weak = office.token(Role::Admin, &new_token("weak", Viewer)).await;
    assert_eq!(office.status_with(&weak.token, Method::GET, "/v1/operators").await, 403);
    // Operators cannot change their own account; the last admin who can log in stays.
    assert_eq!(patch(Role::Admin, "admin", json!({ "role": "viewer" })).await, Code::OwnAccount);
    assert_eq!(patch(Role::Admin, "admin", json!({ "disabled": true })).await, Code::OwnAccount);
    office.person("ann", Admin).await;
    for change in [json!({ "disabled": true }), json!({ "role": "release-manager" })] {
        assert_eq!(patch(Role::Admin, "ann", change).await, Code::LastAdmin);
    }
    // Two admins who would disable one another at the same time: one of them stays.
    office.person("ben", Admin).await;
    let (ann, ben) = (office.log_in("ann").await, office.log_in("ben").await);
    let off = json!({ "disabled": true });
    let (one, two) = tokio::join!(
        ann.request(Method::PATCH, "/v1/operators/ben").json(&off).send(),
        ben.request(Method::PATCH, "/v1/operators/ann").json(&off).send(),
    );
    let statuses = [one.unwrap().status().as_u16(), two.unwrap().status().as_u16()];
    assert_eq!(statuses.iter().filter(|s| **s == 200).count(), 1, "{statuses:?}");
    let left = "SELECT count(*) FROM operators WHERE role = 'admin' AND disabled_at IS NULL AND password IS NOT NULL";
    assert_eq!(count(&office.pool().await, left).await, 1);
    let raised = "SELECT count(*) FROM operators WHERE name NOT IN ('admin', 'ann', 'ben') AND role = 'admin'";
    assert_eq!(count(&office.pool().await, raised).await, 0);
}
