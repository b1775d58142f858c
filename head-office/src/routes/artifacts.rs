//! What belongs to published artifacts: index, torrent, manifest. All are content-addressed, so they never change.

use std::io::{self, Read};

use actix_web::HttpResponse;
use actix_web::http::header::{CACHE_CONTROL, HeaderValue};
use actix_web::web::{Data, Path};
use fleet_types::Digest;
use serde_json::json;
use service_kit::database::{GenericClient, connection};
use service_kit::server::{ApiError, Caller};
use swarm::{Torrent, torrent};
use wire::v1::plan::ArtifactRef;
use wire::{Code, Problem};

use crate::app::App;
use crate::db;
use crate::error::ApiResult;

/// The artifact's index: its header and segment table, the first bytes of its file.
#[utoipa::path(get, path = "/v1/artifacts/{sha256}/index", tag = "artifacts", params(("sha256" = Digest, Path)), responses(
    (status = 200, description = "The index", body = Vec<u8>, content_type = "application/octet-stream"),
    (status = 404, description = "No published artifact", body = Problem, content_type = "application/problem+json"),
))]
pub async fn index(app: Data<App>, caller: Caller, sha256: Path<Digest>) -> ApiResult<HttpResponse> {
    let artifact = find(&app, &caller, &sha256).await?;
    let path = app.store.artifact(&artifact);
    let reader = app.store.holds().read(&artifact.sha256);
    let reader = reader.ok_or_else(|| ApiError::not_found(format_args!("published artifact {sha256}")))?;
    let read = move || -> io::Result<Vec<u8>> {
        // Nobody removes the file before it is read.
        let _reader = reader;
        let mut bytes = Vec::new();
        std::fs::File::open(&path)?.take(artifact.index_length).read_to_end(&mut bytes)?;
        if bytes.len() as u64 == artifact.index_length {
            Ok(bytes)
        } else {
            Err(io::Error::other(format!("{} is cut short", path.display())))
        }
    };
    let bytes = tokio::task::spawn_blocking(read).await.map_err(ApiError::internal)?.map_err(ApiError::internal)?;
    Ok(immutable("application/octet-stream", bytes))
}

/// The artifact's torrent with head office's tracker.
#[utoipa::path(get, path = "/v1/artifacts/{sha256}/torrent", tag = "artifacts", params(("sha256" = Digest, Path)), responses(
    (status = 200, description = "The torrent", body = Vec<u8>, content_type = "application/x-bittorrent"),
    (status = 404, description = "No published artifact", body = Problem, content_type = "application/problem+json"),
))]
pub async fn torrent(app: Data<App>, caller: Caller, sha256: Path<Digest>) -> ApiResult<HttpResponse> {
    let artifact = find(&app, &caller, &sha256).await?;
    let client = connection(&app.pool).await?;
    let stored = db::artifacts::torrent(&client, &artifact.sha256).await?;
    let stored = stored.ok_or_else(|| ApiError::not_found(format_args!("torrent of artifact {sha256}")))?;
    let parsed = Torrent::parse(&stored).map_err(ApiError::internal)?;
    let file = parsed.to_file(&torrent::wan_tiers(&app.settings.tracker.announce_url));
    Ok(immutable("application/x-bittorrent", file))
}

/// The manifest of a published release, byte for byte.
pub async fn manifest(app: Data<App>, caller: Caller, sha256: Path<Digest>) -> ApiResult<HttpResponse> {
    let client = connection(&app.pool).await?;
    let manifest = db::releases::manifest(&client, &sha256).await?;
    let manifest = manifest.ok_or_else(|| ApiError::not_found(format_args!("published manifest {sha256}")))?;
    refuse_unplanned(&client, &app, &caller, "Manifest", &sha256, json!({ "manifest": *sha256 })).await?;
    Ok(immutable("application/toml", manifest))
}

async fn find(app: &App, caller: &Caller, sha256: &Digest) -> ApiResult<ArtifactRef> {
    let client = connection(&app.pool).await?;
    let found = db::artifacts::find_published(&client, sha256).await?;
    let found = found.ok_or_else(|| ApiError::not_found(format_args!("published artifact {sha256}")))?;
    let part = json!({ "artifact": { "sha256": sha256 } });
    refuse_unplanned(&client, app, caller, "Artifact", sha256, part).await?;
    Ok(found)
}

/// A branch gets what a plan of its own names. People may look at everything.
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
    Err(ApiError::new(Code::NotInYourPlan, detail, "Ask /v1/sync for the plan, and for nothing that it does not name."))
}

fn immutable(media_type: &'static str, bytes: Vec<u8>) -> HttpResponse {
    HttpResponse::Ok()
        .content_type(media_type)
        .insert_header((CACHE_CONTROL, HeaderValue::from_static("private, max-age=31536000, immutable")))
        .body(bytes)
}
