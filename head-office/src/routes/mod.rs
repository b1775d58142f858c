//! The routes of both listeners, one file per resource. A handler parses, calls and answers; no SQL and no rule
//! stands here.

pub mod artifacts;
pub mod assignments;
pub mod audit;
mod authentication;
pub mod branches;
pub mod enrol;
pub mod events;
pub mod incidents;
pub mod kit;
pub mod metadata;
pub mod operators;
mod page;
pub mod releases;
pub mod reports;
pub mod session;
pub mod status;
pub mod sync;
pub mod terminals;
pub mod tokens;
pub mod uploads;

use actix_web::http::Method;
use actix_web::web;
use service_kit::server::{Role, Route};

pub use authentication::BranchCertificates;
pub use events::Streams;

/// The operators' routes, each with the role that it asks for.
pub fn operators() -> Vec<Route> {
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
        Route::get("/v1/operators", Admin, || web::to(operators::list)),
        Route::post("/v1/operators", Admin, || web::to(operators::add)),
        Route::new(Method::PATCH, "/v1/operators/{name}", Admin, || web::to(operators::change)),
        Route::new(Method::PUT, "/v1/operators/{name}/password", Admin, || web::to(operators::set_password)),
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
pub fn machines() -> Vec<Route> {
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
