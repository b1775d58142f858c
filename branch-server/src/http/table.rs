//! The route tables of both listeners, and the API's description, which is generated from the handlers.

use std::sync::Arc;

use actix_web::http::Method;
use actix_web::web::{self, ServiceConfig};
use service_kit::database::ping;
use service_kit::edge::chain;
use service_kit::server::{
    self, ApiDocument, Check, Health, Readiness, Role, Route, ServiceApi, document_routes, health_routes,
};
use utoipa::openapi::OpenApi as Document;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::{Modify, OpenApi};
use wire::v1::paths;

use super::certificates::TerminalCertificates;
use super::machines::{artifacts, enrol, events, metadata, reports, sync};
use super::operators::{identities, kit, status};
use crate::app::App;

/// The routes of the operators' listener.
pub fn operator_routes() -> Vec<Route> {
    let mut routes = vec![
        Route::get(paths::STATUS, Role::Viewer, || web::to(status::status)),
        Route::get(paths::TERMINALS, Role::Viewer, || web::to(status::terminals)),
        Route::get("/v1/terminals/{name}/identity", Role::Viewer, || web::to(identities::identity)),
        Route::post("/v1/terminals/{name}/deny", Role::Admin, || web::to(identities::deny)),
        Route::post("/v1/terminals/{name}/allow", Role::Admin, || web::to(identities::allow)),
        Route::post(paths::KIT, Role::Operator, || web::to(kit::import)).with_long_body(),
        Route::new(Method::PUT, "/v1/kit/artifacts/{sha256}", Role::Operator, || web::to(kit::artifact))
            .with_long_body(),
        Route::get(paths::KIT_REPORTS, Role::Operator, || web::to(kit::reports)),
    ];
    routes.extend(health_routes());
    routes.extend(document_routes());
    routes
}

/// The routes of the machines' listener.
pub fn machine_routes() -> Vec<Route> {
    vec![
        Route::post(paths::ENROL, Role::JoinToken, || web::to(enrol::enrol)),
        Route::get(paths::SYNC, Role::Terminal, || web::to(sync::sync)),
        Route::get(paths::EVENTS, Role::Terminal, || web::to(events::events)),
        Route::post(paths::REPORTS, Role::Terminal, || web::to(reports::reports)),
        Route::get("/v1/artifacts/{sha256}/index", Role::Terminal, || web::to(artifacts::index)),
        Route::get("/v1/artifacts/{sha256}/torrent", Role::Terminal, || web::to(artifacts::torrent)),
        Route::get("/v1/manifests/{sha256}", Role::Terminal, || web::to(artifacts::manifest)),
        Route::get("/v1/metadata/{name}", Role::Terminal, || web::to(metadata::metadata)),
        Route::get("/healthz", Role::Public, || web::to(healthz)),
    ]
}

/// The machines' listener says no more than that it runs.
async fn healthz() -> actix_web::HttpResponse {
    actix_web::HttpResponse::Ok().json(Health { status: "ok".to_owned() })
}

/// The application of the operators' listener.
pub fn configure_operators(app: &Arc<App>, config: &mut ServiceConfig) {
    config
        .app_data(web::Data::from(app.clone()))
        .app_data(web::Data::new(readiness(app)))
        .app_data(web::Data::new(app.http_metrics.clone()))
        .app_data(web::Data::new(ApiDocument(Arc::new(document()))));
    server::configure(config, &operator_routes(), Arc::new(app.operators.clone()));
}

/// The application of the machines' listener.
pub fn configure_machines(app: &Arc<App>, config: &mut ServiceConfig) {
    let terminals =
        TerminalCertificates { tls: app.tls.clone(), head_office: app.head_office.clone(), pool: app.pool.clone() };
    config.app_data(web::Data::from(app.clone()));
    server::configure(config, &machine_routes(), Arc::new(terminals));
}

/// What the program cannot do its work without. Head office is not among it: a branch works on while it is away.
fn readiness(app: &Arc<App>) -> Readiness {
    let (database, engine) = (app.clone(), app.clone());
    Readiness(vec![
        Check::new("database", move || {
            let app = database.clone();
            async move { ping(&app.pool).await.map_err(|e| chain(&e)) }
        }),
        Check::new("engine", move || {
            let app = engine.clone();
            async move { app.engine.info().await.map(drop).map_err(|e| chain(&e)) }
        }),
    ])
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Filial branch server",
        description = "Operators' listener (tags `operators`, `service`) and machines' listener (tag `machines`)."
    ),
    paths(
        super::operators::status::status,
        super::operators::status::terminals,
        super::operators::identities::identity,
        super::operators::identities::deny,
        super::operators::identities::allow,
        super::operators::kit::import,
        super::operators::kit::artifact,
        super::operators::kit::reports,
        super::machines::enrol::enrol,
        super::machines::sync::sync,
        super::machines::events::events,
        super::machines::reports::reports,
        super::machines::artifacts::index,
        super::machines::artifacts::torrent,
        super::machines::artifacts::manifest,
        super::machines::metadata::metadata,
    ),
    components(schemas(wire::Code)),
    modifiers(&Bearer)
)]
struct Api;

struct Bearer;

impl Modify for Bearer {
    fn modify(&self, document: &mut Document) {
        let scheme = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
        document.components.get_or_insert_default().add_security_scheme("bearer", scheme);
    }
}

/// The whole document.
pub fn document() -> Document {
    let mut document = Api::openapi();
    document.merge(ServiceApi::openapi());
    document
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_route_is_described() {
        let document = document();
        let undescribed = ["/openapi.json", "/swagger-ui/{file:.*}"];
        for route in operator_routes().iter().chain(&machine_routes()).filter(|r| !undescribed.contains(&r.path)) {
            assert!(document.paths.paths.contains_key(route.path), "{route:?} is not in the document");
        }
    }
}
