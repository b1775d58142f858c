//! The OpenAPI document of the operators' listener, generated from the handlers.

use service_kit::server::ServiceApi;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::{Modify, OpenApi};

use super::operators::{
    accounts, assignments, audit, branches, incidents, kit, releases, session, status, terminals, tokens, uploads,
};
use super::{artifacts, metadata};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Filial head office",
        description = "Releases, branches, terminals and assignments. Every refusal is problem+json with a stable code."
    ),
    paths(
        session::log_in,
        session::who,
        session::log_out,
        session::list,
        session::end,
        session::change_password,
        tokens::make,
        tokens::list,
        tokens::revoke,
        accounts::list,
        accounts::add,
        accounts::change,
        accounts::set_password,
        audit::list,
        audit::head,
        uploads::options,
        uploads::create,
        uploads::head,
        uploads::patch,
        uploads::cancel,
        releases::list,
        releases::show,
        releases::approve,
        releases::sign,
        releases::withdraw,
        branches::list,
        branches::add,
        branches::show,
        branches::remove,
        kit::kit,
        kit::take_reports,
        branches::deny,
        branches::allow,
        terminals::list,
        terminals::show,
        terminals::accept_key,
        assignments::assign,
        assignments::unassign,
        status::status,
        incidents::list,
        metadata::metadata,
        artifacts::content,
        artifacts::index,
        artifacts::torrent,
    ),
    components(schemas(wire::Problem)),
    modifiers(&Bearer),
    security(("bearer" = []))
)]
struct Api;

struct Bearer;

impl Modify for Bearer {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let scheme = SecurityScheme::Http(HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build());
        document.components.get_or_insert_default().add_security_scheme("bearer", scheme);
    }
}

/// The document.
pub fn document() -> utoipa::openapi::OpenApi {
    let mut document = Api::openapi();
    document.merge(ServiceApi::openapi());
    document
}
