//! Uploads of archives: tus 1.0.0, core protocol, creation, expiration and termination
//! (<https://tus.io/protocols/resumable-upload>).

mod headers;
mod manners;

use std::time::Duration;

use actix_web::http::header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue, LOCATION};
use actix_web::{HttpRequest, HttpResponse, web};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::TimeDelta;
use fleet_types::{ReleaseState, size};
use futures_util::StreamExt;
use service_kit::database::connection;
use service_kit::server::{ApiError, Caller};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use wire::v1::paths;
use wire::{Code, Problem};

use crate::app::App;
use crate::db::releases::NewRelease;
use crate::http::errors::{ApiResult, not_moved};
use crate::releases::{arriving, room, uploads};
use crate::stock::budget;
use crate::store::claims::ClaimError;

use headers::{
    CHUNK_TYPE, EXPIRES, EXTENSIONS, LENGTH, MAX_SIZE, METADATA, OFFSET, VERSION, VERSIONS, date, file_name, number,
    speaks_tus,
};

pub use manners::tus;

/// A connection that brings nothing for so long is given up.
const IDLE: Duration = Duration::from_secs(30);
/// How often a chunk that takes long is noted as work on its upload.
const TOUCH_EVERY: TimeDelta = TimeDelta::minutes(10);

/// What this server's tus can do.
///
/// A client behind a proxy that lets only POST through names the method in `X-HTTP-Method-Override`.
#[utoipa::path(options, path = paths::UPLOADS, tag = "uploads", responses(
    (status = 204, description = "tus capabilities, in headers", headers(
        ("Tus-Version" = String, description = "1.0.0"),
        ("Tus-Extension" = String, description = "creation,expiration,termination"),
        ("Tus-Max-Size" = u64, description = "Longest archive in bytes"))),
))]
pub async fn options(app: web::Data<App>) -> HttpResponse {
    HttpResponse::NoContent()
        .insert_header((VERSIONS, VERSION))
        .insert_header((EXTENSIONS, "creation,expiration,termination"))
        .insert_header((MAX_SIZE, app.settings.uploads.max_bytes))
        .finish()
}

/// Begins an upload. The upload's id is the release's id.
#[utoipa::path(post, path = paths::UPLOADS, tag = "uploads", params(
    ("Tus-Resumable" = String, Header, description = "1.0.0"),
    ("Upload-Length" = u64, Header, description = "Length of the archive in bytes"),
    ("Upload-Metadata" = Option<String>, Header, description = "`filename` and its base64"),
), responses(
    (status = 201, description = "Where to send the archive", headers(
        ("Location" = String, description = "The upload"),
        ("Upload-Expires" = String, description = "When it expires unless more is sent"))),
    (status = 413, description = "Longer than allowed", body = Problem, content_type = "application/problem+json"),
    (status = 429, description = "Too many under way", body = Problem, content_type = "application/problem+json"),
    (status = 507, description = "No room", body = Problem, content_type = "application/problem+json"),
))]
pub async fn create(request: HttpRequest, caller: Caller, app: web::Data<App>) -> ApiResult<HttpResponse> {
    speaks_tus(&request)?;
    let length = number(&request, &LENGTH)?;
    let limits = app.settings.uploads;
    if length == 0 {
        return Err(ApiError::bad_field("Upload-Length", "must be at least 1"));
    }
    if length > limits.max_bytes {
        let detail = format!("The archive has {}; at most {} are accepted.", size(length), size(limits.max_bytes));
        return Err(ApiError::new(Code::TooLarge, detail, "Make the release smaller, or raise uploads.max_bytes.")
            .with_header(MAX_SIZE, HeaderValue::from(limits.max_bytes)));
    }
    let file_name = file_name(&request)?;
    // One after the other: two that are created at once must not both be promised the last room.
    let _turn = app.uploads.claims.creating().await;
    room::for_upload(&app.uploads, limits.reserve_bytes, length).await?;
    budget::admit(&app.retention, app.settings.store.budget_bytes, length).await?;
    let (id, now) = (Uuid::new_v4(), app.clock.now());
    let new = NewRelease { id, file_name: &file_name, archive_bytes: length, created_by: &caller.name, now };
    app.uploads.begin(&new, &caller).await?;
    tracing::info!(release = %id, file_name, length, by = caller.name, "upload begins");
    Ok(HttpResponse::Created()
        .insert_header((LOCATION, format!("{}/{id}", paths::UPLOADS)))
        .insert_header((OFFSET, 0u64))
        .insert_header((EXPIRES, date(now + limits.abandon_after)))
        .finish())
}

/// Where to continue: the durable length of what arrived.
///
/// A request of the same operator that still writes is ended.
#[utoipa::path(head, path = paths::UPLOAD, tag = "uploads", params(
    ("id" = Uuid, Path), ("Tus-Resumable" = String, Header, description = "1.0.0"),
), responses(
    (status = 200, description = "The offset, in a header", headers(
        ("Upload-Offset" = u64, description = "Bytes that are stored durably"),
        ("Upload-Length" = u64, description = "Length of the archive in bytes"),
        ("Upload-Expires" = String, description = "When it expires unless more is sent"))),
    (status = 404, description = "No such upload"),
    (status = 410, description = "It was cancelled or given up; the release has the reason"),
))]
pub async fn head(
    request: HttpRequest,
    id: web::Path<Uuid>,
    caller: Caller,
    app: web::Data<App>,
) -> ApiResult<HttpResponse> {
    speaks_tus(&request)?;
    let (release, offset) = app.uploads.standing(*id, &caller).await?;
    let mut answer = HttpResponse::Ok();
    if offset < release.archive_bytes {
        let expires = app.uploads.expires(&connection(&app.pool).await?, *id).await?;
        answer.insert_header((EXPIRES, date(expires)));
    }
    Ok(answer
        .insert_header((OFFSET, offset))
        .insert_header((LENGTH, release.archive_bytes))
        .insert_header((METADATA, format!("filename {}", STANDARD.encode(&release.file_name))))
        .insert_header((CACHE_CONTROL, "no-store"))
        .finish())
}

/// Adds a chunk at the offset.
///
/// Whatever arrives before the connection breaks is kept. An older request of the same operator that still writes is
/// ended.
#[utoipa::path(patch, path = paths::UPLOAD, tag = "uploads", params(
    ("id" = Uuid, Path),
    ("Tus-Resumable" = String, Header, description = "1.0.0"),
    ("Upload-Offset" = u64, Header, description = "Where the chunk begins: where the upload ends"),
), request_body(content = String, content_type = "application/offset+octet-stream"), responses(
    (status = 204, description = "Stored durably", headers(
        ("Upload-Offset" = u64, description = "Where the upload ends now"),
        ("Upload-Expires" = String, description = "When it expires unless more is sent"))),
    (status = 409, description = "Another offset", body = Problem, content_type = "application/problem+json"),
    (status = 410, description = "It was cancelled or given up", body = Problem, content_type = "application/problem+json"),
    (status = 423, description = "Another operator's request writes", body = Problem,
        content_type = "application/problem+json"),
    (status = 507, description = "The disk is full; what arrived is kept", body = Problem,
        content_type = "application/problem+json"),
))]
pub async fn patch(
    request: HttpRequest,
    id: web::Path<Uuid>,
    caller: Caller,
    app: web::Data<App>,
    body: web::Payload,
) -> ApiResult<HttpResponse> {
    let id = *id;
    speaks_tus(&request)?;
    let media_type = request.headers().get(CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    if media_type != CHUNK_TYPE {
        let detail = format!("A chunk has the media type {CHUNK_TYPE}.");
        return Err(ApiError::new(Code::UnsupportedMediaType, detail, "Set Content-Type."));
    }
    let offset = number(&request, &OFFSET)?;
    // First the claim: what is found then does not change under our hands.
    let claim = app.uploads.claims.claim(id, &caller.name).await?;
    let release = app.uploads.find(id).await?;
    if release.state != ReleaseState::Uploading {
        // A repeated last chunk whose answer was lost is not an error.
        if offset == release.archive_bytes {
            return Ok(HttpResponse::NoContent().insert_header((OFFSET, offset)).finish());
        }
        return Err(has_arrived(release.state, "There is nothing more to send; ask for the release's state."));
    }
    let claim = app.uploads.unexpired(claim, id).await?;
    app.uploads.touch(id).await?;
    let taken_over = claim.taken_over();
    let bounds = uploads::Bounds { offset, length: release.archive_bytes, reserve: app.settings.uploads.reserve_bytes };
    let mut writer = uploads::Writer::open(app.store.upload(id), bounds, claim).await?;
    // What is said to be too much is refused whole, however it arrives.
    let says = request.headers().get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if says.is_some_and(|bytes| offset.saturating_add(bytes) > release.archive_bytes) {
        let refused = ApiError::from(uploads::UploadError::TooLong { length: release.archive_bytes });
        return Err(refused.with_header(OFFSET, HeaderValue::from(offset)));
    }
    let received = receive(&app, id, &mut writer, &taken_over, body).await;
    // However the chunk ended: what arrived of it is kept and counted.
    let end = match (received, writer.flush().await) {
        (Ok(()), end) => end?,
        (Err(error), end) => {
            let end = end.unwrap_or(offset);
            app.counters.uploaded(end.saturating_sub(offset));
            return Err(error.with_header(OFFSET, HeaderValue::from(end)));
        }
    };
    app.counters.uploaded(end.saturating_sub(offset));
    app.uploads.touch(id).await?;
    let mut answer = HttpResponse::NoContent();
    if end == release.archive_bytes {
        app.uploads.complete(id, &caller).await.map_err(not_moved)?;
    } else {
        answer.insert_header((EXPIRES, date(app.clock.now() + app.settings.uploads.abandon_after)));
    }
    // Only now: no request may cancel between the last byte and the note of it.
    drop(writer);
    Ok(answer.insert_header((OFFSET, end)).finish())
}

/// Takes a chunk's bytes until they end, or until something ends them.
async fn receive(
    app: &App,
    id: Uuid,
    writer: &mut uploads::Writer,
    taken_over: &CancellationToken,
    mut body: web::Payload,
) -> ApiResult<()> {
    let mut touched = app.clock.now();
    loop {
        let next = tokio::select! {
            biased;
            () = taken_over.cancelled() => return Err(ClaimError::TakenOver.into()),
            next = tokio::time::timeout(IDLE, body.next()) => next,
        };
        let Ok(next) = next else {
            let detail = format!("No data arrived for {} s.", IDLE.as_secs());
            return Err(ApiError::new(Code::BadRequest, detail, "Ask for the offset and continue there."));
        };
        match next {
            None => return Ok(()),
            Some(Ok(bytes)) => writer.push(&bytes).await?,
            Some(Err(error)) => {
                let detail = "The connection broke within the chunk; the bytes that arrived are kept.";
                let remedy = "Ask for the offset and continue there.";
                return Err(ApiError::new(Code::BadRequest, detail, remedy).because(error.to_string()));
            }
        }
        if app.clock.now() - touched >= TOUCH_EVERY {
            touched = app.clock.now();
            if let Err(error) = app.uploads.touch(id).await {
                tracing::debug!(%error, "a chunk goes on without a note of it");
            }
        }
    }
}

/// Cancels an upload: what arrived is removed and the release is withdrawn.
///
/// A request that writes it is ended.
#[utoipa::path(delete, path = paths::UPLOAD, tag = "uploads", params(
    ("id" = Uuid, Path), ("Tus-Resumable" = String, Header, description = "1.0.0"),
), responses(
    (status = 204, description = "Cancelled"),
    (status = 404, description = "No such upload", body = Problem, content_type = "application/problem+json"),
    (status = 409, description = "The archive has arrived", body = Problem, content_type = "application/problem+json"),
    (status = 410, description = "It had ended before", body = Problem, content_type = "application/problem+json"),
))]
pub async fn cancel(
    request: HttpRequest,
    id: web::Path<Uuid>,
    caller: Caller,
    app: web::Data<App>,
) -> ApiResult<HttpResponse> {
    let id = *id;
    speaks_tus(&request)?;
    let claim = app.uploads.claims.claim_from_anybody(id, &caller.name).await?;
    let release = app.uploads.find(id).await?;
    if release.state != ReleaseState::Uploading {
        let remedy = "An upload that is complete cannot be cancelled; withdraw the release instead.";
        return Err(has_arrived(release.state, remedy));
    }
    app.uploads.end(claim, id, arriving::cancelled_by(&caller.name), Some(&caller)).await.map_err(not_moved)?;
    tracing::info!(release = %id, by = caller.name, "upload cancelled");
    Ok(HttpResponse::NoContent().finish())
}

fn has_arrived(state: ReleaseState, remedy: &str) -> ApiError {
    ApiError::new(Code::WrongState, format!("The archive is complete; the release is {state}."), remedy)
}
