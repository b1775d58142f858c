//! Uploads of archives: tus 1.0.0, core protocol and creation (<https://tus.io/protocols/resumable-upload>).

use std::time::Duration;

use actix_web::http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue, LOCATION};
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder, web};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fleet_types::ReleaseState;
use futures_util::StreamExt;
use service_kit::database::{begin, commit, connection};
use service_kit::server::{ApiError, Caller};
use uuid::Uuid;
use wire::v1::paths;
use wire::{Code, Problem};

use crate::app::App;
use crate::db;
use crate::db::releases::{NewRelease, ReleaseRow};
use crate::error::{ApiResult, not_moved};
use crate::releases::{upload_complete, uploads};

const VERSION: &str = "1.0.0";
const CHUNK_TYPE: &str = "application/offset+octet-stream";
const RESUMABLE: HeaderName = HeaderName::from_static("tus-resumable");
const OFFSET: HeaderName = HeaderName::from_static("upload-offset");
const LENGTH: HeaderName = HeaderName::from_static("upload-length");
const METADATA: HeaderName = HeaderName::from_static("upload-metadata");
const MAX_SIZE: HeaderName = HeaderName::from_static("tus-max-size");
const VERSIONS: HeaderName = HeaderName::from_static("tus-version");
const EXTENSIONS: HeaderName = HeaderName::from_static("tus-extension");

/// Longest file name that is kept, in characters.
const MAX_NAME: usize = 200;
/// Longest `Upload-Metadata` that is read, in bytes.
const MAX_METADATA: usize = 4096;
/// A connection that brings nothing for so long is given up, so that a client that lost it can take over.
const IDLE: Duration = Duration::from_secs(30);

/// What this server's tus can do.
#[utoipa::path(options, path = "/v1/uploads", tag = "uploads", responses(
    (status = 204, description = "tus capabilities, in headers", headers(
        ("Tus-Version" = String, description = "1.0.0"), ("Tus-Extension" = String, description = "creation"),
        ("Tus-Max-Size" = u64, description = "Longest archive in bytes"))),
))]
pub async fn options(app: web::Data<App>) -> HttpResponse {
    answer(HttpResponse::NoContent())
        .insert_header((VERSIONS, VERSION))
        .insert_header((EXTENSIONS, "creation"))
        .insert_header((MAX_SIZE, app.settings.uploads.max_bytes))
        .finish()
}

/// Begins an upload. The upload's id is the release's id.
#[utoipa::path(post, path = "/v1/uploads", tag = "uploads", params(
    ("Tus-Resumable" = String, Header, description = "1.0.0"),
    ("Upload-Length" = u64, Header, description = "Length of the archive in bytes"),
    ("Upload-Metadata" = Option<String>, Header, description = "`filename` and its base64"),
), responses(
    (status = 201, description = "Where to send the archive", headers(("Location" = String, description = "The upload"))),
    (status = 413, description = "Longer than allowed", body = Problem, content_type = "application/problem+json"),
    (status = 507, description = "No room", body = Problem, content_type = "application/problem+json"),
))]
pub async fn create(request: HttpRequest, caller: Caller, app: web::Data<App>) -> ApiResult<HttpResponse> {
    speaks_tus(&request)?;
    let length = number(&request, &LENGTH)?;
    let limits = app.settings.uploads;
    if length == 0 {
        return Err(ApiError::bad_field("Upload-Length", "an archive is not empty"));
    }
    if length > limits.max_bytes {
        let detail = format!("The archive has {length} bytes, at most {} are taken.", limits.max_bytes);
        return Err(ApiError::new(Code::TooLarge, detail, "Make the release smaller, or raise uploads.max_bytes.")
            .with_header(MAX_SIZE, HeaderValue::from(limits.max_bytes)));
    }
    let file_name = file_name(&request)?;
    room_for(&app, length.saturating_add(limits.reserve_bytes)).await?;
    let id = Uuid::new_v4();
    // The file first: a row without a file would promise what is not there.
    uploads::create(app.store.upload(id)).await?;
    let client = connection(&app.pool).await?;
    let new =
        NewRelease { id, file_name: &file_name, archive_bytes: length, created_by: &caller.name, now: app.clock.now() };
    db::releases::insert(&client, &new).await?;
    tracing::info!(release = %id, file_name, length, by = caller.name, "upload begins");
    Ok(answer(HttpResponse::Created())
        .insert_header((LOCATION, format!("{}/{id}", paths::UPLOADS)))
        .insert_header((OFFSET, 0u64))
        .finish())
}

/// Where to continue: the durable length of what arrived.
#[utoipa::path(head, path = "/v1/uploads/{id}", tag = "uploads", params(
    ("id" = Uuid, Path), ("Tus-Resumable" = String, Header, description = "1.0.0"),
), responses(
    (status = 200, description = "The offset, in a header", headers(
        ("Upload-Offset" = u64, description = "Bytes that are stored durably"),
        ("Upload-Length" = u64, description = "Length of the archive in bytes"))),
    (status = 404, description = "No such upload"),
))]
pub async fn head(request: HttpRequest, id: web::Path<Uuid>, app: web::Data<App>) -> ApiResult<HttpResponse> {
    speaks_tus(&request)?;
    let release = find(&app, *id).await?;
    let offset = match release.state {
        ReleaseState::Uploading => uploads::durable_length(app.store.upload(*id)).await?,
        _ => release.archive_bytes,
    };
    if offset == release.archive_bytes && release.state == ReleaseState::Uploading {
        // All arrived, but whoever sent the last byte never heard so, and neither did the database.
        complete(&app, *id).await?;
    }
    let name = format!("filename {}", STANDARD.encode(&release.file_name));
    Ok(answer(HttpResponse::Ok())
        .insert_header((OFFSET, offset))
        .insert_header((LENGTH, release.archive_bytes))
        .insert_header((METADATA, name))
        .insert_header((CACHE_CONTROL, "no-store"))
        .finish())
}

/// Adds a chunk at the offset. Whatever arrives before the connection breaks is kept.
#[utoipa::path(patch, path = "/v1/uploads/{id}", tag = "uploads", params(
    ("id" = Uuid, Path),
    ("Tus-Resumable" = String, Header, description = "1.0.0"),
    ("Upload-Offset" = u64, Header, description = "Where the chunk begins: where the upload ends"),
), request_body(content = String, content_type = "application/offset+octet-stream"), responses(
    (status = 204, description = "Stored durably", headers(("Upload-Offset" = u64, description = "Where the upload ends now"))),
    (status = 409, description = "Another offset", body = Problem, content_type = "application/problem+json"),
    (status = 423, description = "Another request writes", body = Problem, content_type = "application/problem+json"),
))]
pub async fn patch(
    request: HttpRequest,
    id: web::Path<Uuid>,
    app: web::Data<App>,
    body: web::Payload,
) -> ApiResult<HttpResponse> {
    speaks_tus(&request)?;
    let media_type = request.headers().get(CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    if media_type != CHUNK_TYPE {
        let detail = format!("A chunk has the media type {CHUNK_TYPE}.");
        return Err(ApiError::new(Code::UnsupportedMediaType, detail, "Set Content-Type."));
    }
    let offset = number(&request, &OFFSET)?;
    let release = find(&app, *id).await?;
    if release.state != ReleaseState::Uploading {
        // A repeated last chunk whose answer was lost is no error.
        if offset == release.archive_bytes {
            return Ok(answer(HttpResponse::NoContent()).insert_header((OFFSET, offset)).finish());
        }
        let detail = format!("The archive has arrived; the release is {}.", release.state);
        return Err(ApiError::new(Code::WrongState, detail, "Ask for the release's state."));
    }
    touch(&app, *id).await?;
    let end = receive(&app, &release, offset, body).await?;
    app.counters.uploaded(end - offset);
    touch(&app, *id).await?;
    if end == release.archive_bytes {
        complete(&app, *id).await?;
    }
    Ok(answer(HttpResponse::NoContent()).insert_header((OFFSET, end)).finish())
}

async fn receive(app: &App, release: &ReleaseRow, offset: u64, mut body: web::Payload) -> ApiResult<u64> {
    let mut writer = uploads::Writer::open(app.store.upload(release.id), offset, release.archive_bytes).await?;
    loop {
        let Ok(next) = tokio::time::timeout(IDLE, body.next()).await else {
            // The client is gone without a word. Keep what arrived and let the lock go.
            writer.finish().await?;
            let detail = format!("Nothing arrived for {} s.", IDLE.as_secs());
            return Err(ApiError::new(Code::BadRequest, detail, "Ask for the offset and continue there."));
        };
        match next {
            None => return Ok(writer.finish().await?),
            Some(Ok(bytes)) => {
                if let Err(error) = writer.push(&bytes).await {
                    writer.finish().await?;
                    return Err(error.into());
                }
            }
            Some(Err(error)) => {
                let end = writer.finish().await?;
                let detail = format!("The connection broke; the upload ends at {end}.");
                return Err(
                    ApiError::new(Code::BadRequest, detail, "Continue at the offset.").because(error.to_string())
                );
            }
        }
    }
}

async fn complete(app: &App, id: Uuid) -> ApiResult<()> {
    let mut client = connection(&app.pool).await?;
    let transaction = begin(&mut client).await?;
    upload_complete(&transaction, id, app.clock.now()).await.map_err(not_moved)?;
    Ok(commit(transaction).await?)
}

async fn touch(app: &App, id: Uuid) -> ApiResult<()> {
    let client = connection(&app.pool).await?;
    Ok(db::releases::touch(&client, id, app.clock.now()).await?)
}

async fn find(app: &App, id: Uuid) -> ApiResult<ReleaseRow> {
    let client = connection(&app.pool).await?;
    let release = db::releases::find(&client, id).await?;
    release.ok_or_else(|| ApiError::not_found(format_args!("upload {id}")).with_header(RESUMABLE, version()))
}

async fn room_for(app: &App, bytes: u64) -> ApiResult<()> {
    let store = app.store.clone();
    let free = tokio::task::spawn_blocking(move || store.free_bytes()).await.map_err(ApiError::internal)?;
    let free = free.map_err(ApiError::internal)?;
    if free >= bytes {
        return Ok(());
    }
    let detail = format!("The store has {free} bytes free; {bytes} are needed, with the reserve.");
    Err(ApiError::new(Code::DiskFull, detail, "Free space on head office's store, or lower uploads.reserve_bytes."))
}

fn version() -> HeaderValue {
    HeaderValue::from_static(VERSION)
}

fn answer(mut builder: HttpResponseBuilder) -> HttpResponseBuilder {
    builder.insert_header((RESUMABLE, VERSION));
    builder
}

fn speaks_tus(request: &HttpRequest) -> ApiResult<()> {
    if request.headers().get(RESUMABLE).is_some_and(|v| v == VERSION) {
        return Ok(());
    }
    let detail = format!("Tus-Resumable must be {VERSION}.");
    Err(ApiError::new(Code::UnsupportedVersion, detail, "Use a tus 1.0 client.").with_header(VERSIONS, version()))
}

fn number(request: &HttpRequest, name: &HeaderName) -> ApiResult<u64> {
    let value = request.headers().get(name).and_then(|v| v.to_str().ok()).and_then(|v| v.parse().ok());
    value.ok_or_else(|| {
        ApiError::new(Code::BadRequest, format!("The header {name} is missing or no number."), "Send it, in bytes.")
    })
}

/// The `filename` out of `Upload-Metadata`, without what could harm a terminal or a database.
fn file_name(request: &HttpRequest) -> ApiResult<String> {
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
