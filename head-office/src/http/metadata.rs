//! The signed metadata: what exists, and who may say so. It is public, and clients verify it wherever it comes from.

use actix_web::HttpResponse;
use actix_web::http::header::{CACHE_CONTROL, HeaderValue};
use actix_web::web::{Data, Path};
use service_kit::server::{ApiError, Missing};
use trust::client::is_metadata_name;
use wire::Problem;
use wire::v1::paths;

use crate::app::App;
use crate::http::errors::ApiResult;

/// A file of the signed metadata, such as `timestamp.json`.
///
/// A missing file is a plain 404: clients probe for the next root this way.
#[utoipa::path(get, path = paths::METADATA, tag = "metadata", params(("name" = String, Path)), responses(
    (status = 200, description = "The file, byte for byte", body = Vec<u8>, content_type = "application/json"),
    (status = 404, description = "No such file now", body = Problem, content_type = "application/problem+json"),
))]
pub async fn metadata(app: Data<App>, name: Path<String>) -> ApiResult<HttpResponse> {
    let file = Some(name.as_str()).filter(|name| is_metadata_name(name)).and_then(|name| app.trust.file(name));
    let file = file.ok_or_else(|| {
        let name: String = name.chars().take(100).collect();
        ApiError::not_found(Missing::Other("file of metadata"), &format_args!("{name:?}"))
    })?;
    // A version never changes; the timestamp has none in its name.
    let lasting = match name.as_str() {
        "timestamp.json" => "no-store",
        _ => "private, max-age=31536000, immutable",
    };
    let cached = (CACHE_CONTROL, HeaderValue::from_static(lasting));
    Ok(HttpResponse::Ok().content_type("application/json").insert_header(cached).body(file))
}
