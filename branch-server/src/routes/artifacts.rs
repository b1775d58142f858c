//! What terminals need of an artifact besides its pieces: index, torrent, manifest. All of it is served as soon as
//! terminals can begin with it, which is before the artifact is complete here.

use actix_web::HttpResponse;
use actix_web::web::{Data, Path};
use fleet_types::Digest;
use service_kit::database::connection;
use wire::Code;

use crate::app::App;
use crate::db::{artifacts, manifests};
use crate::error::ApiError;
use crate::sync::describe::lan_torrent;
use crate::sync::plan::Stage;

fn digest(text: &str) -> Result<Digest, ApiError> {
    text.parse().map_err(|e| ApiError::bad_field("sha256", e))
}

/// The bytes if terminals may have them.
fn offered(found: Option<(Stage, Option<Vec<u8>>)>, artifact: &Digest) -> Result<Vec<u8>, ApiError> {
    match found {
        Some((stage, Some(bytes))) if stage.is_available() => Ok(bytes),
        Some((Stage::Dropping, _)) | None => Err(ApiError::not_found(format!("artifact {artifact}"))),
        Some(_) => {
            let detail = format!("Artifact {artifact} is planned, but cannot be fetched here yet.");
            Err(ApiError::new(Code::NotHeldYet, detail, "Wait for the next event and ask /v1/sync again."))
        }
    }
}

/// An artifact's index: its header and segment table.
#[utoipa::path(get, path = "/v1/artifacts/{sha256}/index", tag = "machines",
    params(("sha256" = Digest, Path, description = "The artifact")),
    responses(
        (status = 200, description = "The index", body = Vec<u8>, content_type = "application/octet-stream"),
        (status = 401, description = "`unauthenticated`", body = wire::Problem),
        (status = 404, description = "`not-found`", body = wire::Problem),
        (status = 409, description = "`not-held-yet`", body = wire::Problem),
        (status = 422, description = "`bad-field`: no digest", body = wire::Problem),
    ))]
pub async fn index(app: Data<App>, sha256: Path<String>) -> Result<HttpResponse, ApiError> {
    let artifact = digest(&sha256)?;
    let found = artifacts::index(&connection(&app.pool).await?, &artifact).await?;
    let bytes = offered(found, &artifact)?;
    Ok(HttpResponse::Ok().content_type("application/octet-stream").body(bytes))
}

/// An artifact's LAN torrent: it names this branch's tracker and no other.
#[utoipa::path(get, path = "/v1/artifacts/{sha256}/torrent", tag = "machines",
    params(("sha256" = Digest, Path, description = "The artifact")),
    responses(
        (status = 200, description = "The torrent", body = Vec<u8>, content_type = "application/x-bittorrent"),
        (status = 401, description = "`unauthenticated`", body = wire::Problem),
        (status = 404, description = "`not-found`", body = wire::Problem),
        (status = 409, description = "`not-held-yet`", body = wire::Problem),
        (status = 422, description = "`bad-field`: no digest", body = wire::Problem),
    ))]
pub async fn torrent(app: Data<App>, sha256: Path<String>) -> Result<HttpResponse, ApiError> {
    let artifact = digest(&sha256)?;
    let found = artifacts::torrent(&connection(&app.pool).await?, &artifact).await?;
    let wan = offered(found, &artifact)?;
    let lan = lan_torrent(&wan, &app.settings.tracker.lan_announce_url).map_err(ApiError::internal)?;
    Ok(HttpResponse::Ok().content_type("application/x-bittorrent").body(lan))
}

/// A release's manifest, byte for byte.
#[utoipa::path(get, path = "/v1/manifests/{sha256}", tag = "machines",
    params(("sha256" = Digest, Path, description = "The manifest")),
    responses(
        (status = 200, description = "`release.toml`", body = String, content_type = "application/toml"),
        (status = 401, description = "`unauthenticated`", body = wire::Problem),
        (status = 404, description = "`not-found`", body = wire::Problem),
        (status = 422, description = "`bad-field`: no digest", body = wire::Problem),
    ))]
pub async fn manifest(app: Data<App>, sha256: Path<String>) -> Result<HttpResponse, ApiError> {
    let manifest = digest(&sha256)?;
    let found = manifests::read(&connection(&app.pool).await?, &manifest).await?;
    let bytes = found.ok_or_else(|| ApiError::not_found(format!("manifest {manifest}")))?;
    Ok(HttpResponse::Ok().content_type("application/toml").body(bytes))
}
