//! The OpenAPI document of the operators' listener, generated from the handlers.

use service_kit::server::ServiceApi;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::{Modify, OpenApi};

use crate::routes;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Filial head office",
        description = "Releases, branches, terminals and assignments. Every refusal is problem+json with a stable code."
    ),
    paths(
        routes::session::log_in,
        routes::session::who,
        routes::session::log_out,
        routes::session::list,
        routes::session::end,
        routes::session::change_password,
        routes::tokens::make,
        routes::tokens::list,
        routes::tokens::revoke,
        routes::operators::list,
        routes::operators::add,
        routes::operators::change,
        routes::operators::set_password,
        routes::audit::list,
        routes::audit::head,
        routes::uploads::options,
        routes::uploads::create,
        routes::uploads::head,
        routes::uploads::patch,
        routes::uploads::cancel,
        routes::releases::list,
        routes::releases::show,
        routes::releases::approve,
        routes::releases::sign,
        routes::releases::withdraw,
        routes::branches::list,
        routes::branches::add,
        routes::branches::show,
        routes::branches::remove,
        routes::kit::kit,
        routes::kit::take_reports,
        routes::branches::deny,
        routes::branches::allow,
        routes::terminals::list,
        routes::terminals::show,
        routes::terminals::accept_key,
        routes::assignments::assign,
        routes::assignments::unassign,
        routes::status::status,
        routes::incidents::list,
        routes::metadata::metadata,
        routes::artifacts::content,
        routes::artifacts::index,
        routes::artifacts::torrent,
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
