//! Releases.

use actix_web::web::{Data, Json, Path};
use fleet_types::ReleaseState;
use service_kit::database::{begin, commit, connection};
use service_kit::server::{ApiError, Caller};
use uuid::Uuid;
use wire::v1::releases::{Approve, Release};
use wire::{Code, Problem};

use crate::app::App;
use crate::db;
use crate::error::{ApiResult, frozen, not_moved};
use crate::releases::{advance, settle_freeze, view, view_all};

/// Most releases in one answer.
const MAX_RELEASES: i64 = 500;

/// The newest releases, newest first, at most 500.
#[utoipa::path(get, path = "/v1/releases", tag = "releases", responses(
    (status = 200, description = "Releases", body = Vec<Release>),
))]
pub async fn list(app: Data<App>) -> ApiResult<Json<Vec<Release>>> {
    let client = connection(&app.pool).await?;
    let rows = db::releases::newest(&client, MAX_RELEASES).await?;
    Ok(Json(view_all(&client, &app.store, rows).await?))
}

/// One release.
#[utoipa::path(get, path = "/v1/releases/{id}", tag = "releases", params(("id" = Uuid, Path)), responses(
    (status = 200, description = "The release", body = Release),
    (status = 404, description = "No such release", body = Problem, content_type = "application/problem+json"),
))]
pub async fn show(app: Data<App>, id: Path<Uuid>) -> ApiResult<Json<Release>> {
    let client = connection(&app.pool).await?;
    let row =
        db::releases::find(&client, *id).await?.ok_or_else(|| ApiError::not_found(format_args!("release {id}")))?;
    Ok(Json(view(&client, &app.store, row).await?))
}

/// Accept a release's warnings: it will be published.
#[utoipa::path(post, path = "/v1/releases/{id}/approve", tag = "releases", params(("id" = Uuid, Path)),
    request_body = Approve, responses(
    (status = 200, description = "The release, approved", body = Release),
    (status = 409, description = "It does not wait for this, or a freeze is in force", body = Problem, content_type = "application/problem+json"),
    (status = 422, description = "No reason was given", body = Problem, content_type = "application/problem+json"),
))]
pub async fn approve(app: Data<App>, id: Path<Uuid>, caller: Caller, body: Json<Approve>) -> ApiResult<Json<Release>> {
    let reason = body.reason.trim().replace('\0', "");
    if reason.is_empty() || reason.len() > wire::MAX_REASON_LEN {
        return Err(ApiError::bad_field("reason", format_args!("must have 1 to {} bytes", wire::MAX_REASON_LEN)));
    }
    let mut client = connection(&app.pool).await?;
    let transaction = begin(&mut client).await?;
    let found = db::releases::lock(&transaction, *id).await?;
    let release = found.ok_or_else(|| ApiError::not_found(format_args!("release {id}")))?;
    if release.state != ReleaseState::AwaitingSignature {
        // `validating → approved` is in the table too, but it is the rules' move and nobody else's.
        let detail = format!("The release is {} and waits for nobody's approval.", release.state);
        return Err(ApiError::new(Code::WrongState, detail, "Only a release in awaiting-signature can be approved."));
    }
    let now = app.clock.now();
    settle_freeze(&transaction, &release, &app.settings.policy, now).await?.map_err(frozen)?;
    advance(&transaction, &release, ReleaseState::Approved, None, now).await.map_err(not_moved)?;
    db::releases::set_approved(&transaction, *id, &caller.name, &reason).await?;
    commit(transaction).await?;
    tracing::info!(release = %id, by = caller.name, reason, "warnings accepted");
    let row =
        db::releases::find(&client, *id).await?.ok_or_else(|| ApiError::not_found(format_args!("release {id}")))?;
    Ok(Json(view(&client, &app.store, row).await?))
}
