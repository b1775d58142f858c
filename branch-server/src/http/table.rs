//! The route tables of both listeners, and the API's description, which is generated from the handlers.

use std::collections::BTreeSet;
use std::sync::Arc;

use access::http::doorkeeper::Doorkeeper;
use actix_web::web::{self, ServiceConfig};
use service_kit::database::ping;
use service_kit::edge::chain;
use service_kit::server::{self, ApiDocument, Check, Health, Readiness, Role, Route, document_routes, health_routes};
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
    [access::http::routes(), operators(), health_routes(), document_routes()].concat()
}

/// Returns the groups of routes that a token's scope may name.
pub fn groups() -> Vec<String> {
    let known = [access::http::routes(), operators()].concat().into_iter().filter(|route| !route.role.is_open());
    known.map(|route| route.group().to_owned()).collect::<BTreeSet<_>>().into_iter().collect()
}

/// Lists the operators' routes of this program, each with the role that it requires.
fn operators() -> Vec<Route> {
    service_kit::routes![
        Role::Viewer => status::status,
        Role::Viewer => status::terminals,
        Role::Viewer => identities::identity,
        Role::Admin => identities::deny,
        Role::Admin => identities::allow,
        Role::Operator => kit::import, long_body,
        Role::Operator => kit::artifact, long_body,
        Role::Operator => kit::reports,
    ]
}

/// The routes of the machines' listener.
pub fn machine_routes() -> Vec<Route> {
    let mut routes = service_kit::routes![
        Role::JoinToken => enrol::enrol,
        Role::Terminal => sync::sync,
        Role::Terminal => events::events,
        Role::Terminal => reports::reports,
        Role::Terminal => artifacts::index,
        Role::Terminal => artifacts::torrent,
        Role::Terminal => artifacts::manifest,
        Role::Terminal => metadata::metadata,
    ];
    routes.push(Route::get(paths::HEALTHZ, Role::Public, || web::to(healthz)));
    routes
}

/// The machines' listener says no more than that it runs.
async fn healthz() -> actix_web::HttpResponse {
    actix_web::HttpResponse::Ok().json(Health { status: "ok".to_owned() })
}

/// The application of the operators' listener.
pub fn configure_operators(app: &Arc<App>, config: &mut ServiceConfig) {
    config
        .app_data(web::Data::from(app.clone()))
        .app_data(web::Data::from(app.access.clone()))
        .app_data(web::Data::new(readiness(app)))
        .app_data(web::Data::new(app.http_metrics.clone()))
        .app_data(web::Data::new(ApiDocument::new(&document())));
    server::configure(config, &operator_routes(), Arc::new(Doorkeeper::new(app.access.clone())));
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
    components(schemas(wire::Code, Health, wire::Problem)),
    modifiers(&Bearer),
    security(("bearer" = []))
)]
struct Api;

struct Bearer;

impl Modify for Bearer {
    fn modify(&self, document: &mut Document) {
        let scheme = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
        document.components.get_or_insert_default().add_security_scheme("bearer", scheme);
    }
}

/// Returns the description of both listeners, made of their route tables.
pub fn document() -> Document {
    let routes = [operator_routes(), machine_routes()].concat();
    server::document(Api::openapi(), &routes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_route_is_described() {
        let document = document();
        let undescribed = [paths::OPENAPI, paths::SWAGGER_UI];
        for route in operator_routes().iter().chain(&machine_routes()).filter(|r| !undescribed.contains(&&*r.path)) {
            assert!(document.paths.paths.contains_key(&*route.path), "{route:?} is not in the document");
        }
    }
}
