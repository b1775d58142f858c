//! The mirror of signed metadata. Readers verify it: this server can withhold a file, never forge one.

use actix_web::HttpResponse;
use actix_web::web::{Data, Path};
use trust::client::is_metadata_name;

use crate::app::App;
use service_kit::server::{ApiError, Missing};
use wire::v1::paths;

/// A file of signed metadata, byte for byte.
///
/// Every root that is known here, and the files of the newest state that this server believes.
#[utoipa::path(get, path = paths::METADATA, tag = "machines",
    params(("name" = String, Path, description = "Such as `timestamp.json` or `2.root.json`")),
    responses(
        (status = 200, description = "The file", body = Vec<u8>, content_type = "application/json"),
        (status = 401, description = "`unauthenticated`", body = wire::Problem),
        (status = 404, description = "`not-found`: no such name, or not here", body = wire::Problem),
    ))]
pub async fn metadata(app: Data<App>, name: Path<String>) -> Result<HttpResponse, ApiError> {
    let found = app.metadata.believed().file(&name).filter(|_| is_metadata_name(&name));
    match found {
        Some(bytes) => Ok(HttpResponse::Ok().content_type("application/json").body(bytes)),
        None => Err(ApiError::not_found(Missing::Other("metadata file"), &"of this name")),
    }
}
