//! What belongs to published artifacts: index, torrent, manifest. All are content-addressed, so they never change.

use actix_web::HttpResponse;
use actix_web::body::SizedStream;
use actix_web::http::header::{CACHE_CONTROL, HeaderValue};
use actix_web::web::{Data, Path};
use fleet_types::Digest;
use futures_util::StreamExt as _;
use serde_json::json;
use service_kit::database::{GenericClient, connection};
use service_kit::server::{ApiError, Caller, Missing};
use tokio::io::AsyncReadExt as _;
use tokio_util::io::ReaderStream;
use wire::v1::paths;
use wire::v1::plan::ArtifactRef;
use wire::{Code, Problem};

use crate::app::App;
use crate::db;
use crate::http::errors::ApiResult;
use crate::store;
use crate::store::holds::Reader;

/// How much of a file is read at once, in bytes.
const CHUNK: usize = 256 * 1024;

/// The artifact's index: its header and segment table, the first bytes of its file.
#[utoipa::path(get, path = paths::ARTIFACT_INDEX, tag = "artifacts", params(("sha256" = Digest, Path)), responses(
    (status = 200, description = "The index", body = Vec<u8>, content_type = "application/octet-stream"),
    (status = 404, description = "No published artifact", body = Problem, content_type = "application/problem+json"),
))]
pub async fn index(app: Data<App>, caller: Caller, sha256: Path<Digest>) -> ApiResult<HttpResponse> {
    let artifact = find(&app, &caller, &sha256).await?;
    let index = store::index::read(&app.store, &artifact).await.map_err(ApiError::internal)?;
    let index = index.ok_or_else(|| ApiError::not_found(Missing::Other("published artifact"), &sha256))?;
    Ok(immutable("application/octet-stream", index))
}

/// Keeps the artifact's file from removal while the answer lives.
fn hold(app: &App, artifact: &ArtifactRef) -> ApiResult<Reader> {
    let reader = app.store.holds().read(&artifact.sha256);
    reader.ok_or_else(|| ApiError::not_found(Missing::Other("published artifact"), &artifact.sha256))
}

/// The artifact's file, to be carried to a branch by hand.
#[utoipa::path(get, path = paths::ARTIFACT, tag = "artifacts", params(("sha256" = Digest, Path)), responses(
    (status = 200, description = "The file", body = Vec<u8>, content_type = "application/octet-stream"),
    (status = 404, description = "No published artifact", body = Problem, content_type = "application/problem+json"),
))]
pub async fn content(app: Data<App>, caller: Caller, sha256: Path<Digest>) -> ApiResult<HttpResponse> {
    let artifact = find(&app, &caller, &sha256).await?;
    let reader = hold(&app, &artifact)?;
    let file = tokio::fs::File::open(app.store.artifact(&artifact)).await.map_err(ApiError::internal)?;
    let bytes = ReaderStream::with_capacity(file.take(artifact.length), CHUNK).map(move |chunk| {
        let _held = &reader;
        chunk
    });
    let body = SizedStream::new(artifact.length, bytes);
    Ok(HttpResponse::Ok().content_type("application/octet-stream").body(body))
}

/// The artifact's torrent with head office's tracker.
#[utoipa::path(get, path = paths::ARTIFACT_TORRENT, tag = "artifacts", params(("sha256" = Digest, Path)), responses(
    (status = 200, description = "The torrent", body = Vec<u8>, content_type = "application/x-bittorrent"),
    (status = 404, description = "No published artifact", body = Problem, content_type = "application/problem+json"),
))]
pub async fn torrent(app: Data<App>, caller: Caller, sha256: Path<Digest>) -> ApiResult<HttpResponse> {
    let artifact = find(&app, &caller, &sha256).await?;
    let client = connection(&app.pool).await?;
    let torrent = app.seeder.wan_torrent(&client, &artifact.sha256).await?;
    let torrent = torrent.ok_or_else(|| ApiError::not_found(Missing::Other("torrent of artifact"), &sha256))?;
    Ok(immutable("application/x-bittorrent", torrent))
}

/// The manifest of a published release, byte for byte.
#[utoipa::path(get, path = paths::MANIFEST, tag = "artifacts", params(("sha256" = Digest, Path)), responses(
    (status = 200, description = "The manifest", body = Vec<u8>, content_type = "application/toml"),
    (status = 403, description = "No plan of the branch names it", body = Problem, content_type = "application/problem+json"),
    (status = 404, description = "No published manifest", body = Problem, content_type = "application/problem+json"),
))]
pub async fn manifest(app: Data<App>, caller: Caller, sha256: Path<Digest>) -> ApiResult<HttpResponse> {
    let client = connection(&app.pool).await?;
    let manifest = db::releases::manifest(&client, &sha256).await?;
    let manifest = manifest.ok_or_else(|| ApiError::not_found(Missing::Other("published manifest"), &sha256))?;
    refuse_unplanned(&client, &app, &caller, "Manifest", &sha256, json!({ "manifest": *sha256 })).await?;
    Ok(immutable("application/toml", manifest))
}

async fn find(app: &App, caller: &Caller, sha256: &Digest) -> ApiResult<ArtifactRef> {
    let client = connection(&app.pool).await?;
    let found = db::artifacts::find_published(&client, sha256).await?;
    let found = found.ok_or_else(|| ApiError::not_found(Missing::Other("published artifact"), &sha256))?;
    let part = json!({ "artifact": { "sha256": sha256 } });
    refuse_unplanned(&client, app, caller, "Artifact", sha256, part).await?;
    Ok(found)
}

/// A branch gets what its plans name; operators may read everything.
async fn refuse_unplanned<C: GenericClient>(
    c: &C,
    app: &App,
    caller: &Caller,
    what: &str,
    sha256: &Digest,
    part: serde_json::Value,
) -> ApiResult<()> {
    let Some(branch) = &caller.branch else { return Ok(()) };
    if db::plans::names(c, branch, part, app.clock.now()).await? {
        return Ok(());
    }
    let detail = format!("{what} {sha256} is in no plan of branch {branch}.");
    Err(ApiError::new(Code::NotInYourPlan, detail, "Request only what the plan in /v1/sync names."))
}

fn immutable(media_type: &'static str, bytes: Vec<u8>) -> HttpResponse {
    HttpResponse::Ok()
        .content_type(media_type)
        .insert_header((CACHE_CONTROL, HeaderValue::from_static("private, max-age=31536000, immutable")))
        .body(bytes)
}
