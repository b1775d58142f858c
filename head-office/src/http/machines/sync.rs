//! What a branch should hold and run.

use actix_web::web::{Data, Json};
use chrono::{DateTime, Utc};
use fleet_types::BranchName;
use service_kit::database::{Connection, begin, commit, connection};
use service_kit::server::Caller;
use wire::v1::sync::Sync;

use crate::app::App;
use crate::db;
use crate::db::plans::PlanRow;
use crate::http::errors::ApiResult;
use crate::rollout::tick;

/// The newest plan, and those of its artifacts that can be had here.
pub async fn sync(app: Data<App>, caller: Caller) -> ApiResult<Json<Sync>> {
    let branch = caller.branch_name()?;
    let mut client = connection(&app.pool).await?;
    let newest = newest(&app, &mut client, branch).await?;
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

/// The newest plan of a branch; one that has lived long, or is not signed by the present keys, is made anew.
pub async fn newest(app: &App, client: &mut Connection, branch: &BranchName) -> ApiResult<Option<PlanRow>> {
    let now = app.clock.now();
    let newest = db::plans::newest(client, branch).await?;
    let sealed = |plan: &PlanRow| app.trust.sealed(plan.signers.iter().map(String::as_str));
    if newest.as_ref().is_none_or(|plan| sealed(plan) && !needs_new_life(plan, now)) {
        return Ok(newest);
    }
    let transaction = begin(client).await?;
    let outcome = tick::refresh(&transaction, branch, now, &app.issuer()).await?;
    commit(transaction).await?;
    if outcome.issued.is_some() {
        app.counters.plan_issued();
    }
    Ok(db::plans::newest(client, branch).await?)
}

/// A plan is made anew at half of its life, so that a branch that is cut off has at least that much left.
fn needs_new_life(plan: &PlanRow, now: DateTime<Utc>) -> bool {
    plan.expires - now < (plan.expires - plan.issued) / 2
}
