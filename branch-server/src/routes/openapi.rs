//! The API's description, generated from the handlers.

use service_kit::server::ServiceApi;
use utoipa::openapi::OpenApi as Document;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::{Modify, OpenApi};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Filial branch server",
        description = "Operators' listener (tags `operators`, `service`) and machines' listener (tag `machines`)."
    ),
    paths(
        super::console::status,
        super::console::terminals,
        super::identities::identity,
        super::identities::deny,
        super::identities::allow,
        super::kit::import,
        super::kit::artifact,
        super::kit::reports,
        super::enrol::enrol,
        super::terminals::sync,
        super::terminals::events,
        super::terminals::reports,
        super::artifacts::index,
        super::artifacts::torrent,
        super::artifacts::manifest,
        super::metadata::metadata,
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
    use crate::app::{machine_routes, operator_routes};

    #[test]
    fn every_route_is_described() {
        let document = document();
        let undescribed = ["/openapi.json", "/swagger-ui/{file:.*}"];
        for route in operator_routes().iter().chain(&machine_routes()).filter(|r| !undescribed.contains(&&*r.path)) {
            assert!(document.paths.paths.contains_key(&*route.path), "{route:?} is not in the document");
        }
    }
}
