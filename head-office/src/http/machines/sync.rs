//! What a branch should hold and run.

use actix_web::web::{Data, Json};
use fleet_types::BranchName;
use service_kit::database::{Connection, connection};
use service_kit::server::Caller;
use wire::v1::paths;
use wire::v1::sync::Sync;

use crate::app::App;
use crate::db;
use crate::db::plans::PlanRow;
use crate::http::errors::ApiResult;

/// The newest plan, and those of its artifacts that can be had here.
#[utoipa::path(get, path = paths::SYNC, tag = "plan", responses(
    (status = 200, description = "The plan", body = Sync),
))]
pub async fn sync(app: Data<App>, caller: Caller) -> ApiResult<Json<Sync>> {
    let branch = caller.branch_name()?;
    let client = connection(&app.pool).await?;
    let newest = newest(&app, &client, branch).await?;
    let metadata = app.trust.timestamp();
    let Some(newest) = newest else { return Ok(Json(Sync { plan: None, available: Vec::new(), metadata })) };
    let plan = db::plans::envelope(&client, branch, newest.serial).await?;
    let mut available = Vec::new();
    for step in newest.entries() {
        let artifact = step.artifact.sha256;
        if !available.contains(&artifact) && db::artifacts::find_published(&client, &artifact).await?.is_some() {
            available.push(artifact);
        }
    }
    Ok(Json(Sync { plan, available, metadata }))
}

/// The newest plan of a branch.
///
/// If it is due, the tick issues the next one; this request only reads.
pub async fn newest(app: &App, client: &Connection, branch: &BranchName) -> ApiResult<Option<PlanRow>> {
    let newest = db::plans::newest(client, branch).await?;
    if newest.as_ref().is_some_and(|plan| app.issuer.is_due(plan, app.clock.now())) {
        app.replan.notify_one();
    }
    Ok(newest)
}
