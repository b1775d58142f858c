//! The route table of each listener: path, role and handler in one list. `main` and the tests configure from here and from
//! nowhere else.

use std::collections::BTreeSet;
use std::sync::Arc;

use access::http::doorkeeper::Doorkeeper;
use actix_web::middleware::from_fn;
use actix_web::web::{self, ServiceConfig};
use service_kit::routes;
use service_kit::server::{
    ApiDocument, Check, Readiness, Role, Route, configure, document, document_routes, health_routes,
};
use utoipa::openapi::OpenApi as Document;
use wire::v1::paths;

use super::certificates::BranchCertificates;
use super::document::{machines_base, operators_base};
use super::machines::{enrol, events, reports, sync};
use super::operators::{assignments, branches, incidents, kit, releases, status, terminals, uploads};
use super::{artifacts, metadata};
use crate::app::App;

/// The routes of people's programs.
pub fn operator_routes() -> Vec<Route> {
    [access::http::routes(), operators(), health_routes(), document_routes()].concat()
}

/// The routes of branch servers.
pub fn machine_routes() -> Vec<Route> {
    let health = health_routes().into_iter().filter(|r| r.path == paths::HEALTHZ);
    machines().into_iter().chain(health).collect()
}

/// Returns the OpenAPI document of the operators' listener.
pub fn operator_document() -> Document {
    document(operators_base(), &operator_routes())
}

/// Returns the OpenAPI document of the machines' listener.
pub fn machine_document() -> Document {
    document(machines_base(), &machine_routes())
}

/// Returns the groups of routes that a token's scope may name.
pub fn groups() -> Vec<String> {
    let known = [access::http::routes(), operators()].concat().into_iter().filter(|route| !route.role.is_open());
    known.map(|route| route.group().to_owned()).collect::<BTreeSet<_>>().into_iter().collect()
}

/// The operators' application.
pub fn configure_operators(config: &mut ServiceConfig, app: &Arc<App>) {
    shared(config, app);
    config
        .app_data(web::Data::new(ApiDocument::new(&operator_document())))
        .app_data(web::Data::from(app.access.clone()))
        .app_data(web::PayloadConfig::new(usize::MAX));
    let doorkeeper = Arc::new(Doorkeeper::new(app.access.clone()));
    let routes = move |config: &mut ServiceConfig| configure(config, &operator_routes(), doorkeeper);
    config.service(web::scope("").wrap(from_fn(uploads::tus)).configure(routes));
}

/// The branch servers' application.
pub fn configure_machines(config: &mut ServiceConfig, app: &Arc<App>) {
    shared(config, app);
    configure(config, &machine_routes(), Arc::new(BranchCertificates::new(app.clone())));
}

fn shared(config: &mut ServiceConfig, app: &Arc<App>) {
    config
        .app_data(web::Data::from(app.clone()))
        .app_data(web::Data::new(app.metrics.clone()))
        .app_data(web::Data::new(readiness(app)));
}

fn readiness(app: &Arc<App>) -> Readiness {
    let (pool, engine) = (app.pool.clone(), app.engine.clone());
    Readiness(vec![
        Check::new("database", move || {
            let pool = pool.clone();
            async move { service_kit::database::ping(&pool).await.map_err(|e| e.to_string()) }
        }),
        Check::new("engine", move || {
            let engine = engine.clone();
            async move { engine.info().await.map(drop).map_err(|e| e.to_string()) }
        }),
    ])
}

/// Lists the operators' routes, each with the role that it requires.
fn operators() -> Vec<Route> {
    routes![
        Role::Public => uploads::options,
        Role::ReleaseManager => uploads::create,
        Role::ReleaseManager => uploads::head,
        Role::ReleaseManager => uploads::patch, long_body,
        Role::ReleaseManager => uploads::cancel,
        Role::Viewer => releases::list,
        Role::Viewer => releases::show,
        Role::ReleaseManager => releases::approve,
        Role::ReleaseManager => releases::sign,
        Role::Operator => releases::withdraw,
        Role::Viewer => branches::list,
        Role::Admin => branches::add,
        Role::Viewer => branches::show,
        Role::Admin => branches::remove,
        Role::Operator => kit::kit,
        Role::Operator => kit::take_reports,
        Role::Admin => branches::deny,
        Role::Admin => branches::allow,
        Role::Viewer => terminals::list,
        Role::Viewer => terminals::show,
        Role::Operator => terminals::accept_key,
        Role::Admin => terminals::remove,
        Role::Operator => assignments::assign,
        Role::Viewer => incidents::list,
        Role::Operator => assignments::unassign,
        Role::Viewer => metadata::metadata,
        Role::Viewer => status::status,
        Role::Viewer => artifacts::content,
        Role::Viewer => artifacts::index,
        Role::Viewer => artifacts::torrent,
    ]
}

/// Lists the branch servers' routes.
fn machines() -> Vec<Route> {
    routes![
        Role::JoinToken => enrol::enrol,
        Role::Branch => sync::sync,
        Role::Branch => metadata::metadata,
        Role::Branch => events::events,
        Role::Branch => reports::report,
        Role::Branch => artifacts::index,
        Role::Branch => artifacts::torrent,
        Role::Branch => artifacts::manifest,
    ]
}
