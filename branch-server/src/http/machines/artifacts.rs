//! What terminals need of an artifact besides its pieces: index, torrent, manifest. All of it is served as soon as
//! terminals can begin with it, which is before the artifact is complete here.

use actix_web::HttpResponse;
use actix_web::web::{Data, Path};
use fleet_types::Digest;
use service_kit::database::{Connection, DatabaseError, connection};
use service_kit::server::{ApiError, Missing};
use trust::planned;
use wire::Code;
use wire::v1::paths;
use wire::v1::plan::Plan;

use crate::app::App;
use crate::artifacts::describe::lan_torrent;
use crate::artifacts::model::Stage;
use crate::db::{artifacts, manifests, plan};

fn digest(text: &str) -> Result<Digest, ApiError> {
    text.parse().map_err(|e| ApiError::bad_field("sha256", e))
}

/// The plan names it, but it is not here yet: said so, and not that it does not exist.
fn not_yet(what: &str) -> ApiError {
    let detail = format!("{what} is planned but not available at this branch yet.");
    ApiError::new(Code::NotHeldYet, detail, "Wait for the next event and request /v1/sync again.")
}

async fn followed(client: &Connection) -> Result<Option<Plan>, DatabaseError> {
    plan::read(client).await?.map(|stored| stored.open()).transpose()
}

/// The bytes if terminals may have them.
async fn offered(
    client: &Connection,
    found: Option<(Stage, Option<Vec<u8>>)>,
    artifact: &Digest,
) -> Result<Vec<u8>, ApiError> {
    let what = format!("Artifact {artifact}");
    match found {
        Some((stage, Some(bytes))) if stage.is_available() => Ok(bytes),
        Some((stage, _)) if stage != Stage::Dropping => Err(not_yet(&what)),
        _ => {
            let names_it = |plan: Plan| planned::entries(&plan).any(|s| s.artifacts.contains(artifact));
            let named = followed(client).await?.is_some_and(names_it);
            Err(if named { not_yet(&what) } else { ApiError::not_found(Missing::Other("artifact"), &artifact) })
        }
    }
}

/// An artifact's index: its header and segment table.
#[utoipa::path(get, path = paths::ARTIFACT_INDEX, tag = "machines",
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
    let client = connection(&app.pool).await?;
    let found = artifacts::index(&client, &artifact).await?;
    let bytes = offered(&client, found, &artifact).await?;
    Ok(HttpResponse::Ok().content_type("application/octet-stream").body(bytes))
}

/// An artifact's LAN torrent: it names this branch's tracker and no other.
#[utoipa::path(get, path = paths::ARTIFACT_TORRENT, tag = "machines",
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
    let client = connection(&app.pool).await?;
    let found = artifacts::torrent(&client, &artifact).await?;
    let wan = offered(&client, found, &artifact).await?;
    let lan = lan_torrent(&wan, &app.settings.tracker.lan_announce_url).map_err(ApiError::internal)?;
    Ok(HttpResponse::Ok().content_type("application/x-bittorrent").body(lan))
}

/// A release's manifest, byte for byte.
#[utoipa::path(get, path = paths::MANIFEST, tag = "machines",
    params(("sha256" = Digest, Path, description = "The manifest")),
    responses(
        (status = 200, description = "`release.toml`", body = String, content_type = "application/toml"),
        (status = 401, description = "`unauthenticated`", body = wire::Problem),
        (status = 404, description = "`not-found`", body = wire::Problem),
        (status = 409, description = "`not-held-yet`", body = wire::Problem),
        (status = 422, description = "`bad-field`: no digest", body = wire::Problem),
    ))]
pub async fn manifest(app: Data<App>, sha256: Path<String>) -> Result<HttpResponse, ApiError> {
    let manifest = digest(&sha256)?;
    let client = connection(&app.pool).await?;
    if let Some(bytes) = manifests::read(&client, &manifest).await? {
        return Ok(HttpResponse::Ok().content_type("application/toml").body(bytes));
    }
    let named = followed(&client).await?.is_some_and(|p| p.entries().any(|s| s.manifest == manifest));
    Err(if named {
        not_yet(&format!("Manifest {manifest}"))
    } else {
        ApiError::not_found(Missing::Other("manifest"), &manifest)
    })
}
