//! Refusals of bodies, queries and paths that cannot be parsed.

use std::io;

use actix_web::HttpRequest;
use actix_web::error::{JsonPayloadError, PayloadError};
use actix_web::http::header::CONTENT_ENCODING;
use wire::Code;

use super::ApiError;
use super::bounds::MAX_OPEN_BODY;

/// Largest JSON body unless a route sets its own `web::JsonConfig`, in bytes.
pub const MAX_JSON_BODY: usize = 1024 * 1024;

/// Explains a JSON body that is not accepted.
pub(super) fn json_error(error: &JsonPayloadError) -> ApiError {
    use JsonPayloadError as E;
    match error {
        E::Overflow { .. } | E::OverflowKnownLength { .. } => too_large(MAX_JSON_BODY),
        E::Payload(PayloadError::Overflow) => too_large(MAX_OPEN_BODY),
        E::ContentType => ApiError::new(
            Code::UnsupportedMediaType,
            "The body is not said to be JSON.",
            "Set the header Content-Type: application/json.",
        ),
        // A value of the wrong kind inside well-formed JSON is a field's fault, not the body's.
        E::Deserialize(e) if e.is_data() => {
            ApiError::new(Code::BadField, format!("The body has a wrong field: {}.", short(e)), "Correct the field.")
        }
        // The parser has no other way of saying it.
        E::Deserialize(e) if e.to_string().starts_with("recursion limit exceeded") => {
            let detail = format!("The body is nested deeper than any message: {}.", short(e));
            ApiError::new(Code::JsonTooDeep, detail, "Send JSON as /openapi.json describes it.")
        }
        E::Payload(PayloadError::Io(e)) if e.kind() == io::ErrorKind::TimedOut => ApiError::new(
            Code::Timeout,
            "The body did not arrive in time.",
            "Send the whole body at once, or over a faster line.",
        ),
        E::Payload(e) => {
            let detail = format!("The body did not arrive whole: {}.", short(e));
            ApiError::new(Code::BadRequest, detail, "Send the whole body, as long as its header says.")
        }
        E::Deserialize(e) => {
            let detail = format!("The body is not JSON: {}.", short(e));
            ApiError::new(Code::NotJson, detail, "Send JSON as /openapi.json describes it.")
        }
        // The library may come to know more.
        e => unreadable("body", e),
    }
}

/// Refuses a compressed body: a small one may be gigabytes, and no client of ours sends one.
pub(super) fn check_encoding(request: &HttpRequest) -> Result<(), ApiError> {
    if request.headers().get_all(CONTENT_ENCODING).all(|encoding| encoding.as_bytes().eq_ignore_ascii_case(b"identity"))
    {
        return Ok(());
    }
    let detail = "Bodies with a Content-Encoding are not decoded here.";
    Err(ApiError::new(Code::UnsupportedMediaType, detail, "Send the body uncompressed, without Content-Encoding."))
}

/// Explains a body that is longer than the `most` bytes of its route.
pub(super) fn too_large(most: usize) -> ApiError {
    let detail = format!("The body is larger than the {most} bytes that this route takes.");
    ApiError::new(Code::TooLarge, detail, "Send less at once.")
}

/// Messages of parsers repeat what they were given: only the beginning of it is said back.
fn short(error: &impl std::fmt::Display) -> String {
    error.to_string().chars().take(300).collect()
}

/// Explains a part of the request that is not accepted.
pub(super) fn unreadable(what: &str, error: &impl std::fmt::Display) -> ApiError {
    let detail = format!("The {what} cannot be read: {}.", short(error));
    ApiError::new(Code::BadRequest, detail, "See /openapi.json for what it may be.")
}
