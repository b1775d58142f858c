//! What people at the branch look at.

use actix_web::web::{Data, Json};
use service_kit::database::connection;
use wire::v1::fleet::Terminal;

use crate::app::App;
use crate::db::site;
use crate::view::{self, BranchStatus};
use service_kit::server::ApiError;
use wire::v1::paths;

/// One picture of this branch.
///
/// Head office's status as far as it applies here (no releases, one branch), how dealings with head office stand, and
/// the plan that is followed.
#[utoipa::path(get, path = paths::STATUS, tag = "operators", responses(
    (status = 200, description = "This branch now", body = BranchStatus),
    (status = 401, description = "`unauthenticated`", body = wire::Problem),
), security(("bearer" = [])))]
pub async fn status(app: Data<App>) -> Result<Json<BranchStatus>, ApiError> {
    Ok(Json(
        view::status(&connection(&app.pool).await?, &app.metadata.believed(), app.board.list(), app.clock.now())
            .await?,
    ))
}

/// The terminals of this branch, by name.
#[utoipa::path(get, path = paths::TERMINALS, tag = "operators", responses(
    (status = 200, description = "At most 10,000", body = Vec<Terminal>),
    (status = 401, description = "`unauthenticated`", body = wire::Problem),
), security(("bearer" = [])))]
pub async fn terminals(app: Data<App>) -> Result<Json<Vec<Terminal>>, ApiError> {
    let client = connection(&app.pool).await?;
    let Some(branch) = site::read(&client).await?.branch else { return Ok(Json(Vec::new())) };
    Ok(Json(view::all_terminals(&client, &branch).await?))
}
