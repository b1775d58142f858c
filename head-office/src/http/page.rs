//! Lists by page: `?limit=…&after=…`. What does not fit is never left out in silence: the answer's `Link` header leads on.

use actix_web::http::header::LINK;
use actix_web::{HttpRequest, HttpResponse};
use serde::Serialize;
use service_kit::server::ApiError;

use crate::http::errors::ApiResult;

/// Most entries of one page.
pub const MAX_LIMIT: u32 = 1000;

/// Returns how many rows to read: one more than the page has.
///
/// The surplus row tells whether there is another page.
///
/// # Errors
/// The limit is out of bounds.
pub fn rows(limit: Option<u32>, default: u32) -> ApiResult<i64> {
    let limit = limit.unwrap_or(default);
    if (1..=MAX_LIMIT).contains(&limit) {
        return Ok(i64::from(limit) + 1);
    }
    Err(ApiError::bad_field("limit", format_args!("must be 1 to {MAX_LIMIT}")))
}

/// Takes the row too many off; true if there was one.
pub fn cut<T>(found: &mut Vec<T>, rows: i64) -> bool {
    let more = i64::try_from(found.len()).is_ok_and(|n| n == rows);
    if more {
        found.pop();
    }
    more
}

/// Answers with a page of a list.
///
/// With `next`, the cursor of its last entry, the `Link` header names the page after it (RFC 8288).
pub fn answer<T: Serialize>(request: &HttpRequest, items: &[T], next: Option<String>) -> HttpResponse {
    let mut response = HttpResponse::Ok();
    if let Some(next) = next {
        let kept = request.query_string().split('&').filter(|pair| !pair.is_empty() && !pair.starts_with("after="));
        let query: Vec<String> = kept.map(str::to_owned).chain([format!("after={next}")]).collect();
        response.insert_header((LINK, format!("<{}?{}>; rel=\"next\"", request.path(), query.join("&"))));
    }
    response.json(items)
}
