//! The route table of each listener: path, role and handler in one list. `main` and the tests configure from here and from
//! nowhere else.

use std::collections::BTreeSet;
use std::sync::Arc;

use actix_web::http::Method;
use actix_web::web::{self, ServiceConfig};
use service_kit::server::{ApiDocument, Check, Readiness, Role, Route, configure, document_routes, health_routes};

use super::certificates::BranchCertificates;
use super::document::document;
use super::doorkeeper::Doorkeeper;
use super::machines::{enrol, events, reports, sync};
use super::operators::{
    accounts, assignments, audit, branches, incidents, kit, releases, session, status, terminals, tokens, uploads,
};
use super::{artifacts, metadata};
use crate::app::App;

/// The routes of people's programs.
pub fn operator_routes() -> Vec<Route> {
    [operators(), health_routes(), document_routes()].concat()
}

/// The routes of branch servers.
pub fn machine_routes() -> Vec<Route> {
    let health = health_routes().into_iter().filter(|r| r.path == "/healthz");
    machines().into_iter().chain(health).collect()
}

/// The groups of routes that a token's scope may name.
pub fn groups() -> Vec<&'static str> {
    let known = operators().into_iter().filter(|route| !route.role.is_open());
    known.map(|route| route.group()).collect::<BTreeSet<_>>().into_iter().collect()
}

/// The operators' application.
pub fn configure_operators(config: &mut ServiceConfig, app: &Arc<App>) {
    shared(config, app);
    config.app_data(web::Data::new(ApiDocument(Arc::new(document())))).app_data(web::PayloadConfig::new(usize::MAX));
    configure(config, &operator_routes(), Arc::new(Doorkeeper::new(app.clone())));
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

/// The operators' routes, each with the role that it asks for.
fn operators() -> Vec<Route> {
    use Role::{Admin, Operator, Public, ReleaseManager, Viewer};
    vec![
        // Public: whoever logs in is not known yet. The handler bounds what it takes.
        Route::post("/v1/session", Public, || web::to(session::log_in)),
        Route::get("/v1/session", Viewer, || web::to(session::who)),
        Route::new(Method::DELETE, "/v1/session", Viewer, || web::to(session::log_out)),
        Route::get("/v1/sessions", Viewer, || web::to(session::list)),
        Route::new(Method::DELETE, "/v1/sessions/{id}", Viewer, || web::to(session::end)),
        Route::new(Method::PUT, "/v1/password", Viewer, || web::to(session::change_password)),
        Route::post("/v1/tokens", Viewer, || web::to(tokens::make)),
        Route::get("/v1/tokens", Viewer, || web::to(tokens::list)),
        Route::new(Method::DELETE, "/v1/tokens/{id}", Viewer, || web::to(tokens::revoke)),
        Route::get("/v1/operators", Admin, || web::to(accounts::list)),
        Route::post("/v1/operators", Admin, || web::to(accounts::add)),
        Route::new(Method::PATCH, "/v1/operators/{name}", Admin, || web::to(accounts::change)),
        Route::new(Method::PUT, "/v1/operators/{name}/password", Admin, || web::to(accounts::set_password)),
        Route::get("/v1/audit", Admin, || web::to(audit::list)),
        Route::get("/v1/audit/head", Admin, || web::to(audit::head)),
        Route::new(Method::OPTIONS, "/v1/uploads", Public, || web::to(uploads::options)),
        Route::post("/v1/uploads", ReleaseManager, || web::to(uploads::create)),
        Route::new(Method::HEAD, "/v1/uploads/{id}", ReleaseManager, || web::to(uploads::head)),
        Route::new(Method::PATCH, "/v1/uploads/{id}", ReleaseManager, || web::to(uploads::patch)).with_long_body(),
        Route::new(Method::DELETE, "/v1/uploads/{id}", ReleaseManager, || web::to(uploads::cancel)),
        Route::get("/v1/releases", Viewer, || web::to(releases::list)),
        Route::get("/v1/releases/{id}", Viewer, || web::to(releases::show)),
        Route::post("/v1/releases/{id}/approve", ReleaseManager, || web::to(releases::approve)),
        Route::post("/v1/releases/{id}/signatures", ReleaseManager, || web::to(releases::sign)),
        Route::post("/v1/releases/{id}/withdraw", Operator, || web::to(releases::withdraw)),
        Route::get("/v1/branches", Viewer, || web::to(branches::list)),
        Route::post("/v1/branches", Admin, || web::to(branches::add)),
        Route::get("/v1/branches/{branch}", Viewer, || web::to(branches::show)),
        Route::new(Method::DELETE, "/v1/branches/{branch}", Admin, || web::to(branches::remove)),
        Route::get("/v1/branches/{branch}/kit", Operator, || web::to(kit::kit)),
        Route::post("/v1/branches/{branch}/reports", Operator, || web::to(kit::take_reports)),
        Route::post("/v1/branches/{branch}/deny", Admin, || web::to(branches::deny)),
        Route::post("/v1/branches/{branch}/allow", Admin, || web::to(branches::allow)),
        Route::get("/v1/terminals", Viewer, || web::to(terminals::list)),
        Route::get("/v1/terminals/{branch}/{name}", Viewer, || web::to(terminals::show)),
        Route::post("/v1/terminals/{branch}/{name}/key", Operator, || web::to(terminals::accept_key)),
        Route::post("/v1/assignments", Operator, || web::to(assignments::assign)),
        Route::get("/v1/incidents", Viewer, || web::to(incidents::list)),
        Route::new(Method::DELETE, "/v1/assignments/{branch}/{product}", Operator, || web::to(assignments::unassign)),
        Route::get("/v1/metadata/{name}", Viewer, || web::to(metadata::metadata)),
        Route::get("/v1/status", Viewer, || web::to(status::status)),
        Route::get("/v1/artifacts/{sha256}", Viewer, || web::to(artifacts::content)),
        Route::get("/v1/artifacts/{sha256}/index", Viewer, || web::to(artifacts::index)),
        Route::get("/v1/artifacts/{sha256}/torrent", Viewer, || web::to(artifacts::torrent)),
    ]
}

/// The branch servers' routes.
fn machines() -> Vec<Route> {
    use Role::{Branch, JoinToken};
    vec![
        Route::post("/v1/enrol", JoinToken, || web::to(enrol::enrol)),
        Route::get("/v1/sync", Branch, || web::to(sync::sync)),
        Route::get("/v1/metadata/{name}", Branch, || web::to(metadata::metadata)),
        Route::get("/v1/events", Branch, || web::to(events::events)),
        Route::post("/v1/reports", Branch, || web::to(reports::report)),
        Route::get("/v1/artifacts/{sha256}/index", Branch, || web::to(artifacts::index)),
        Route::get("/v1/artifacts/{sha256}/torrent", Branch, || web::to(artifacts::torrent)),
        Route::get("/v1/manifests/{sha256}", Branch, || web::to(artifacts::manifest)),
    ]
}
