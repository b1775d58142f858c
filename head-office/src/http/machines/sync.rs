//! What a branch should hold and run.

use actix_web::web::{Data, Json};
use service_kit::database::connection;
use service_kit::server::Caller;
use wire::v1::paths;
use wire::v1::sync::{DeniedMachines, Sync};

use crate::app::App;
use crate::db;
use crate::http::errors::ApiResult;
use crate::rollout::tick;

/// The newest plan, and those of its artifacts that can be had here.
#[utoipa::path(get, path = paths::SYNC, tag = "plan", responses(
    (status = 200, description = "The plan", body = Sync),
))]
pub async fn sync(app: Data<App>, caller: Caller) -> ApiResult<Json<Sync>> {
    let branch = caller.branch_name()?;
    let client = connection(&app.pool).await?;
    let newest = tick::newest(&client, branch, app.clock.now(), &app.issuer, &app.replan).await?;
    let metadata = app.trust.timestamp();
    let denied = Some(DeniedMachines {
        terminals: db::denied_names::terminals(&client, branch).await?,
        issuers: db::denied_names::issuers(&client, branch).await?,
        keys: db::denied_names::keys(&client, branch).await?,
    });
    let Some(newest) = newest else { return Ok(Json(Sync { plan: None, available: Vec::new(), metadata, denied })) };
    let plan = db::plans::envelope(&client, branch, newest.serial).await?;
    let mut available = Vec::new();
    for step in newest.entries() {
        let artifact = step.artifact.sha256;
        if !available.contains(&artifact) && db::artifacts::find_published(&client, &artifact).await?.is_some() {
            available.push(artifact);
        }
    }
    Ok(Json(Sync { plan, available, metadata, denied }))
}
