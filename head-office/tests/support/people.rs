//! People: operators with a password, and what a browser of theirs sends.

use reqwest::{Method, RequestBuilder, Response};
use serde_json::{Value, json};
use service_kit::server::Role;
use wire::Problem;
use wire::v1::operators::{LoggedIn, NewToken, Operator, OperatorRole, TokenMade};

use super::{Office, status_of};

pub const PASSWORD: &str = "correct horse battery staple";
pub const COOKIE: &str = "__Host-filial-head-office";

/// A browser with a session.
#[derive(Clone)]
pub struct Browser {
    http: reqwest::Client,
    pub origin: String,
    pub cookie: String,
    pub csrf: String,
}

impl Browser {
    /// As our own page sends it.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.bare(method, path).header("Origin", &self.origin).header("X-Filial-Csrf", &self.csrf)
    }

    /// With the cookie, and nothing that proves where it comes from.
    pub fn bare(&self, method: Method, path: &str) -> RequestBuilder {
        self.http
            .request(method, format!("{}{path}", self.origin))
            .header("Cookie", format!("{COOKIE}={}", self.cookie))
    }

    pub async fn status(&self, method: Method, path: &str) -> u16 {
        self.request(method, path).send().await.unwrap().status().as_u16()
    }
}

/// What a refusal says.
pub async fn problem(response: Response) -> Problem {
    assert!(!response.status().is_success(), "{response:?}");
    response.json().await.unwrap()
}

/// The cookie that an answer sets: its value and its attributes.
pub fn set_cookie(response: &Response) -> (String, String) {
    let text = response.headers()["set-cookie"].to_str().unwrap();
    let (value, attributes) = text.strip_prefix(&format!("{COOKIE}=")).unwrap().split_once("; ").unwrap();
    (value.to_owned(), attributes.to_owned())
}

impl Office {
    pub fn origin(&self) -> String {
        format!("https://{}", self.operators)
    }

    /// Adds a person.
    pub async fn person(&self, name: &str, role: OperatorRole) -> Operator {
        let body = json!({ "name": name, "role": role, "password": PASSWORD });
        self.admin().post("/v1/operators", &body).await.unwrap()
    }

    /// One try to log in.
    pub async fn try_log_in(&self, name: &str, password: &str) -> Response {
        let request = self.stranger().request(Method::POST, "/v1/session");
        request.json(&json!({ "name": name, "password": password })).send().await.unwrap()
    }

    pub async fn log_in(&self, name: &str) -> Browser {
        let response = self.try_log_in(name, PASSWORD).await;
        assert_eq!(response.status(), 200, "{:?}", response.text().await);
        let cookie = set_cookie(&response).0;
        let answer: LoggedIn = response.json().await.unwrap();
        assert_eq!(answer.name.as_str(), name);
        let tls = self.line().config(None);
        let http = reqwest::Client::builder().no_proxy().use_preconfigured_tls(tls).build().unwrap();
        Browser { http, origin: self.origin(), cookie, csrf: answer.csrf_token }
    }

    /// A token made by the service that has this role.
    pub async fn token(&self, by: Role, new: &NewToken) -> TokenMade {
        self.as_role(by).post("/v1/tokens", new).await.unwrap()
    }

    /// Adds a service.
    pub async fn service(&self, name: &str, role: OperatorRole) -> Operator {
        self.admin().post("/v1/operators", &json!({ "name": name, "role": role })).await.unwrap()
    }

    /// Disables an operator or lets it in again.
    pub async fn disable(&self, name: &str, disabled: bool) {
        let request = self.admin().request(Method::PATCH, &format!("/v1/operators/{name}"));
        let response = request.json(&json!({ "disabled": disabled })).send().await.unwrap();
        assert_eq!(response.status(), 200);
    }

    /// The status that a route answers to a token.
    pub async fn status_with(&self, token: &str, method: Method, path: &str) -> u16 {
        status_of(&self.client(Some(token)), method, path).await
    }
}

pub fn new_token(name: &str, role: OperatorRole) -> NewToken {
    NewToken { name: name.into(), role, scope: None, days: None, operator: None, reason: None }
}

/// The JSON of an answer.
pub async fn body(response: Response) -> Value {
    response.json().await.unwrap()
}
