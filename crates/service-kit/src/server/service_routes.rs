//! The routes that every listener of people has: health, metrics and the API's own description.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use actix_web::http::header::ContentType;
use actix_web::{HttpRequest, HttpResponse, web};
use bytes::Bytes;
use futures_util::future::{BoxFuture, join_all};
use serde::Serialize;
use utoipa::openapi::OpenApi as Document;
use wire::v1::paths;
use wire::{Code, Problem};

use super::forwarded::is_local;
use super::{ApiError, Metrics, Missing, Role, Route};

/// Longest that one readiness check may take.
const CHECK_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(5);

/// Something without which the program cannot do its work.
#[derive(Clone)]
pub struct Check {
    name: &'static str,
    run: Arc<dyn Fn() -> BoxFuture<'static, Result<(), String>> + Send + Sync>,
}

impl Check {
    /// A check: `run` answers with a sentence that says cause and remedy if it fails.
    pub fn new<F>(name: &'static str, run: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<(), String>> + Send + 'static,
    {
        Self { name, run: Arc::new(move || Box::pin(run())) }
    }
}

/// All readiness checks of a program, as application data.
#[derive(Clone, Default)]
pub struct Readiness(pub Vec<Check>);

/// The API's description and the pages that show it, as application data. Made once: anybody may ask for them, and all share them.
#[derive(Clone)]
pub struct ApiDocument {
    json: Bytes,
    files: Arc<Mutex<BTreeMap<String, (String, Bytes)>>>,
}

impl ApiDocument {
    /// Of this description.
    pub fn new(document: &Document) -> Self {
        // A document of this type is always JSON; an empty one would show in the first test that reads it.
        Self { json: serde_json::to_vec(document).unwrap_or_default().into(), files: Arc::default() }
    }
}

/// The answer of `/healthz` and `/readyz`.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Health {
    /// `ok`.
    pub status: String,
}

/// `/healthz`, `/readyz` and `/metrics`. They need [`Readiness`] and [`Metrics`] as `web::Data`.
pub fn health_routes() -> Vec<Route> {
    crate::routes![
        Role::Public => healthz,
        Role::Public => readyz,
        Role::Monitor => metrics,
    ]
}

/// `/openapi.json` and `/swagger-ui/`. They need [`ApiDocument`] as `web::Data`.
pub fn document_routes() -> Vec<Route> {
    vec![
        Route::get(paths::OPENAPI, Role::Public, || web::to(openapi)),
        Route::get(paths::SWAGGER_UI, Role::Public, || web::to(swagger_ui)),
    ]
}

/// The process answers.
#[utoipa::path(get, path = paths::HEALTHZ, tag = "service", responses((status = 200, description = "It runs", body = Health)))]
pub async fn healthz() -> HttpResponse {
    HttpResponse::Ok().json(Health { status: "ok".to_owned() })
}

/// All that the program depends on answers.
#[utoipa::path(get, path = paths::READYZ, tag = "service", responses(
    (status = 200, description = "Ready", body = Health),
    (status = 503, description = "What is missing", body = Problem, content_type = "application/problem+json"),
))]
pub async fn readyz(request: HttpRequest, readiness: web::Data<Readiness>) -> Result<HttpResponse, ApiError> {
    // Why something does not answer names addresses and users: that is for who stands at the machine.
    let local = is_local(&request);
    let outcomes = join_all(readiness.0.iter().map(|check| async {
        match tokio::time::timeout(CHECK_TIMEOUT, (check.run)()).await {
            Ok(Ok(())) => None,
            Ok(Err(_)) if !local => Some(check.name.to_owned()),
            Ok(Err(why)) => Some(format!("{}: {why}", check.name)),
            Err(_) => Some(format!("{}: no answer within {} s", check.name, CHECK_TIMEOUT.as_secs())),
        }
    }))
    .await;
    let missing: Vec<String> = outcomes.into_iter().flatten().collect();
    if missing.is_empty() {
        return Ok(HttpResponse::Ok().json(Health { status: "ok".to_owned() }));
    }
    Err(ApiError::new(Code::NotReady, missing.join("; "), "Start or repair what is named, then ask again."))
}

/// Numbers for Prometheus. A request from another machine needs a viewer's token.
#[utoipa::path(get, path = paths::METRICS, tag = "service", responses(
    (status = 200, description = "OpenMetrics text", body = String, content_type = "application/openmetrics-text"),
))]
pub async fn metrics(metrics: web::Data<Metrics>) -> HttpResponse {
    HttpResponse::Ok().content_type("application/openmetrics-text; version=1.0.0; charset=utf-8").body(metrics.text())
}

async fn openapi(document: web::Data<ApiDocument>) -> HttpResponse {
    HttpResponse::Ok().content_type(ContentType::json()).body(document.json.clone())
}

async fn swagger_ui(file: web::Path<String>, document: web::Data<ApiDocument>) -> Result<HttpResponse, ApiError> {
    let mut files = document.files.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((content_type, bytes)) = files.get(&*file) {
        return Ok(HttpResponse::Ok().content_type(content_type.as_str()).body(bytes.clone()));
    }
    let config = Arc::new(utoipa_swagger_ui::Config::from(paths::OPENAPI));
    match utoipa_swagger_ui::serve(&file, config) {
        Ok(Some(found)) => {
            let bytes = Bytes::from(found.bytes.into_owned());
            files.insert(file.into_inner(), (found.content_type.clone(), bytes.clone()));
            Ok(HttpResponse::Ok().content_type(found.content_type).body(bytes))
        }
        Ok(None) => Err(ApiError::not_found(Missing::Other("such file"), &"of the API browser")),
        Err(error) => Err(ApiError::internal(error.to_string())),
    }
}
