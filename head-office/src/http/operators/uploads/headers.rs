//! The headers of tus: what they are called, read and written.

use actix_web::HttpRequest;
use actix_web::http::header::{HeaderName, HeaderValue};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, Utc};
use service_kit::server::ApiError;
use wire::Code;

use crate::http::errors::ApiResult;

pub(super) const VERSION: &str = "1.0.0";
pub(super) const CHUNK_TYPE: &str = "application/offset+octet-stream";
pub(super) const RESUMABLE: HeaderName = HeaderName::from_static("tus-resumable");
pub(super) const OVERRIDE: HeaderName = HeaderName::from_static("x-http-method-override");
pub(super) const OFFSET: HeaderName = HeaderName::from_static("upload-offset");
pub(super) const EXPIRES: HeaderName = HeaderName::from_static("upload-expires");
pub(super) const LENGTH: HeaderName = HeaderName::from_static("upload-length");
pub(super) const METADATA: HeaderName = HeaderName::from_static("upload-metadata");
pub(super) const MAX_SIZE: HeaderName = HeaderName::from_static("tus-max-size");
pub(super) const VERSIONS: HeaderName = HeaderName::from_static("tus-version");
pub(super) const EXTENSIONS: HeaderName = HeaderName::from_static("tus-extension");

/// Longest file name that is kept, in characters.
const MAX_NAME: usize = 200;
/// Longest `Upload-Metadata` that is read, in bytes.
const MAX_METADATA: usize = 4096;

pub(super) fn version() -> HeaderValue {
    HeaderValue::from_static(VERSION)
}

/// A date as HTTP writes it (RFC 9110, IMF-fixdate).
pub(super) fn date(at: DateTime<Utc>) -> String {
    at.format("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

pub(super) fn speaks_tus(request: &HttpRequest) -> ApiResult<()> {
    if request.headers().get(RESUMABLE).is_some_and(|v| v == VERSION) {
        return Ok(());
    }
    let detail = format!("Tus-Resumable must be {VERSION}.");
    Err(ApiError::new(Code::UnsupportedVersion, detail, "Use a tus 1.0 client.").with_header(VERSIONS, version()))
}

pub(super) fn number(request: &HttpRequest, name: &HeaderName) -> ApiResult<u64> {
    let value = request.headers().get(name).and_then(|v| v.to_str().ok()).and_then(|v| v.parse().ok());
    value.ok_or_else(|| {
        ApiError::new(Code::BadRequest, format!("The header {name} is missing or not a number."), "Send it, in bytes.")
    })
}

/// Reads the `filename` from `Upload-Metadata`, without control characters.
pub(super) fn file_name(request: &HttpRequest) -> ApiResult<String> {
    let Some(header) = request.headers().get(METADATA) else { return Ok("archive.upd".to_owned()) };
    let bad = || ApiError::bad_field("Upload-Metadata", "must be pairs of a key and base64, joined by commas");
    let text = header.to_str().ok().filter(|t| t.len() <= MAX_METADATA).ok_or_else(bad)?;
    for pair in text.split(',') {
        let (key, value) = pair.trim().split_once(' ').unwrap_or((pair.trim(), ""));
        if key == "filename" {
            let name = STANDARD.decode(value.trim()).ok().and_then(|b| String::from_utf8(b).ok()).ok_or_else(bad)?;
            let name: String = name.chars().filter(|c| !c.is_control()).take(MAX_NAME).collect();
            return Ok(if name.is_empty() { "archive.upd".to_owned() } else { name });
        }
    }
    Ok("archive.upd".to_owned())
}
