//! Requests for certificates: join tokens cannot be guessed, and a flood of them keeps no machine from renewing by its key.

use std::net::IpAddr;

use actix_web::body::BoxBody;
use actix_web::dev::{Payload, ServiceRequest, ServiceResponse};
use actix_web::http::StatusCode;
use actix_web::http::header::{HeaderValue, RETRY_AFTER};
use actix_web::middleware::Next;
use actix_web::{HttpMessage, ResponseError};
use bytes::BytesMut;
use futures_util::stream::{self, StreamExt};
use wire::Code;

use super::ApiError;
use super::bounds::Throttle;
use crate::clock::instant;

/// A request for a certificate: join tokens are counted before they are judged, and too many of them are not looked at.
pub(super) async fn join(
    mut request: ServiceRequest,
    next: Next<BoxBody>,
    throttle: &Throttle,
    peer: IpAddr,
) -> Result<ServiceResponse<BoxBody>, actix_web::Error> {
    let by_token = has_join_token(&mut request).await;
    let Ok(_turn) = throttle.turn(peer).await else {
        let detail = format!("Too many requests for certificates came from {peer} at once.");
        let error = ApiError::new(Code::TooMany, detail, "Try again in a moment.");
        return Ok(
            request.into_response(error.with_header(RETRY_AFTER, HeaderValue::from_static("1")).error_response())
        );
    };
    if !by_token {
        return next.call(request).await;
    }
    if let Err(wait) = throttle.begin(peer, instant()) {
        let seconds = wait.as_secs().max(1);
        let detail = format!("Too many join tokens came from {peer}.");
        let error = ApiError::new(Code::TooMany, detail, format!("Wait {seconds} s, then try the right join token."))
            .with_header(RETRY_AFTER, HeaderValue::from(seconds));
        return Ok(request.into_response(error.error_response()));
    }
    let response = next.call(request).await?;
    if response.status() != StatusCode::FORBIDDEN {
        throttle.forgive(peer);
    }
    if response.status().is_success() {
        throttle.let_in(peer, instant());
    }
    Ok(response)
}

/// Whether the body names a join token. The body, which is bounded, stays as it was, also if it ended in an error.
async fn has_join_token(request: &mut ServiceRequest) -> bool {
    #[derive(serde::Deserialize)]
    struct Peek {
        join_token: Option<serde::de::IgnoredAny>,
    }
    let (mut body, mut whole, mut failed) = (request.take_payload(), BytesMut::new(), None);
    while let Some(chunk) = body.next().await {
        match chunk {
            Ok(chunk) => whole.extend_from_slice(&chunk),
            Err(error) => {
                failed = Some(error);
                break;
            }
        }
    }
    let whole = whole.freeze();
    // What cannot be read here counts: the handler may read it otherwise.
    let by_token = serde_json::from_slice::<Peek>(&whole).map_or(true, |peek| peek.join_token.is_some());
    let again = std::iter::once(Ok(whole)).chain(failed.map(Err));
    request.set_payload(Payload::Stream { payload: Box::pin(stream::iter(again)) });
    by_token
}
