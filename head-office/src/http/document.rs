//! What the OpenAPI documents state beside the routes: titles and how callers authenticate.

use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::{Modify, OpenApi};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Filial head office",
        description = "Releases, branches, terminals and assignments. Every refusal is problem+json with a stable code."
    ),
    components(schemas(wire::Problem)),
    modifiers(&Bearer),
    security(("bearer" = []))
)]
struct Operators;

struct Bearer;

impl Modify for Bearer {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let scheme = SecurityScheme::Http(HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build());
        document.components.get_or_insert_default().add_security_scheme("bearer", scheme);
    }
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Filial head office, for branch servers",
        description = "Plans, metadata, artifacts and reports. Branch servers authenticate by their certificates. Every \
            refusal is problem+json with a stable code."
    ),
    components(schemas(wire::Problem))
)]
struct Machines;

/// Returns the operators' document without its routes.
pub fn operators_base() -> utoipa::openapi::OpenApi {
    Operators::openapi()
}

/// Returns the branch servers' document without its routes.
pub fn machines_base() -> utoipa::openapi::OpenApi {
    Machines::openapi()
}
