//! API tokens.

use chrono::TimeDelta;
use reqwest::Method;
use serde_json::json;
use service_kit::server::Role;
use wire::Code;
use wire::v1::operators::{NewToken, OperatorRole, Token, TokenMade};

use crate::api::refusal;
use crate::support::people::{new_token, problem};
use crate::support::{Office, count};

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_shown_once_used_listed_and_revoked() {
    let office = Office::start().await;
    let made = office.token(Role::Operator, &new_token("laptop", OperatorRole::Viewer)).await;
    assert!(made.token.starts_with("filial-") && made.token.len() > 64);
    let sql = format!("SELECT count(*) FROM tokens WHERE sha256 = '{}'", service_kit::token::hash(&made.token));
    assert_eq!(count(&office.pool().await, &sql).await, 1, "only the hash is stored");
    assert_eq!(office.status_with(&made.token, Method::GET, "/v1/status").await, 200);
    assert_eq!(office.status_with(&made.token, Method::POST, "/v1/assignments").await, 403, "a viewer's");

    let operator = office.as_role(Role::Operator);
    let list: Vec<Token> = operator.get("/v1/tokens").await.unwrap();
    let listed = list.iter().find(|t| t.id == made.kept.id).unwrap();
    assert_eq!(listed.last_used, Some(crate::support::begin()));
    assert_eq!(listed.expires, listed.made + TimeDelta::days(90));
    let others = format!("/v1/tokens/{}", made.kept.id);
    for (role, status) in [(Role::ReleaseManager, 404), (Role::Operator, 204), (Role::Admin, 204)] {
        assert_eq!(crate::support::status_of(&office.as_role(role), Method::DELETE, &others).await, status, "{role:?}");
    }
    let refused = office.client(Some(&made.token)).get::<Token>("/v1/status").await.unwrap_err();
    assert!(refused.to_string().contains("was revoked on 2030-01-01"), "{refused}");
    assert_eq!(refusal(operator.get::<Vec<Token>>("/v1/tokens?operator=viewer").await), Code::Forbidden);
    let of_viewer: Vec<Token> = office.admin().get("/v1/tokens?operator=viewer").await.unwrap();
    assert!(of_viewer.iter().all(|t| t.operator.as_str() == "viewer") && !of_viewer.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_expires_and_its_scope_binds() {
    let office = Office::start().await;
    let scope = Some(vec!["releases".to_owned(), "uploads".to_owned()]);
    let new = NewToken { scope, days: Some(2), ..new_token("ci", OperatorRole::ReleaseManager) };
    let made = office.token(Role::ReleaseManager, &new).await;
    assert_eq!(office.status_with(&made.token, Method::GET, "/v1/releases").await, 200);
    let narrow = office.client(Some(&made.token));
    assert_eq!(refusal(narrow.get::<Token>("/v1/branches").await), Code::OutOfScope);
    assert_eq!(refusal(narrow.post::<_, TokenMade>("/v1/tokens", &new).await), Code::OutOfScope);
    office.clock.advance(TimeDelta::days(2));
    let refused = narrow.get::<Token>("/v1/releases").await.unwrap_err();
    assert!(refused.to_string().contains("expired on 2030-01-03"), "{refused}");
    assert_eq!(refusal::<Token>(Err(refused)), Code::Unauthenticated);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_makes_tokens_gives_only_what_it_has() {
    let office = Office::start().await;
    let scope = Some(vec!["tokens".to_owned(), "branches".to_owned()]);
    let new = NewToken { scope, days: Some(5), ..new_token("first", OperatorRole::Operator) };
    let first = office.client(Some(&office.token(Role::Admin, &new).await.token));
    let second: TokenMade = first.post("/v1/tokens", &new_token("second", OperatorRole::Viewer)).await.unwrap();
    assert_eq!(second.kept.scope.as_deref(), Some(&["branches".to_owned(), "tokens".to_owned()][..]));
    assert_eq!(second.kept.expires, crate::support::begin() + TimeDelta::days(5));
    let wider = NewToken { scope: Some(vec!["releases".into()]), ..new_token("third", OperatorRole::Viewer) };
    assert_eq!(refusal(first.post::<_, TokenMade>("/v1/tokens", &wider).await), Code::OutOfScope);
    let higher = new_token("fourth", OperatorRole::Admin);
    assert_eq!(refusal(first.post::<_, TokenMade>("/v1/tokens", &higher).await), Code::Forbidden);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_admin_makes_tokens_for_services_and_nobody_for_another_person() {
    let office = Office::start().await;
    office.service("ci", OperatorRole::Operator).await;
    office.person("ann", OperatorRole::Viewer).await;
    let make = |operator: &str, role| NewToken { operator: Some(operator.parse().unwrap()), ..new_token("t", role) };
    let made = office.token(Role::Admin, &make("ci", OperatorRole::Operator)).await;
    assert_eq!(made.kept.operator.as_str(), "ci");
    let post = async |by, new: &NewToken| refusal(office.as_role(by).post::<_, TokenMade>("/v1/tokens", new).await);
    assert_eq!(post(Role::Admin, &make("ci", OperatorRole::Admin)).await, Code::Forbidden, "above the service's role");
    assert_eq!(post(Role::Admin, &make("ann", OperatorRole::Viewer)).await, Code::Forbidden);
    assert_eq!(post(Role::Admin, &make("nobody", OperatorRole::Viewer)).await, Code::NotFound);
    assert_eq!(post(Role::ReleaseManager, &make("ci", OperatorRole::Viewer)).await, Code::Forbidden);
    // A disabled service's tokens rest, and a demoted one's are worth less.
    office.disable("ci", true).await;
    assert_eq!(office.status_with(&made.token, Method::GET, "/v1/status").await, 401);
    office.disable("ci", false).await;
    let demote = office.admin().request(Method::PATCH, "/v1/operators/ci").json(&json!({ "role": "viewer" }));
    assert_eq!(demote.send().await.unwrap().status(), 200);
    assert_eq!(office.status_with(&made.token, Method::GET, "/v1/status").await, 200);
    assert_eq!(office.status_with(&made.token, Method::POST, "/v1/assignments").await, 403);
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_are_bounded_in_number() {
    let office = Office::start().await;
    let viewer = office.as_role(Role::Viewer);
    let new = new_token("t", OperatorRole::Viewer);
    // One the test came with.
    let mut ids = Vec::new();
    for _ in 0..49 {
        ids.push(viewer.post::<_, TokenMade>("/v1/tokens", &new).await.unwrap().kept.id);
    }
    assert_eq!(refusal(viewer.post::<_, TokenMade>("/v1/tokens", &new).await), Code::TooManyHeld);
    let revoke = viewer.request(Method::DELETE, &format!("/v1/tokens/{}", ids[0])).send().await.unwrap();
    assert_eq!(revoke.status(), 204);
    viewer.post::<_, TokenMade>("/v1/tokens", &new).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn logging_out_with_a_token_revokes_it() {
    let office = Office::start().await;
    let made = office.token(Role::Viewer, &new_token("t", OperatorRole::Viewer)).await;
    assert_eq!(office.status_with(&made.token, Method::DELETE, "/v1/session").await, 204);
    let answer = office.client(Some(&made.token)).request(Method::GET, "/v1/session").send().await.unwrap();
    assert_eq!(problem(answer).await.code, Code::Unauthenticated);
}
