//! Assignments: this branch runs this release.

use access::audit::Change;
use actix_web::web::{Data, Json, Path};
use fleet_types::{BranchName, ProductName};
use serde_json::json;
use service_kit::database::{begin, connection};
use service_kit::server::Caller;
use wire::Problem;
use wire::v1::fleet::{Assign, PlanIssued};
use wire::v1::paths;

use crate::app::App;
use crate::http::errors::ApiResult;
use crate::rollout::assign;

/// Assign a published release to a branch.
///
/// Its plan is issued at once, and again whenever terminals enrol there.
#[utoipa::path(post, path = paths::ASSIGNMENTS, tag = "assignments", request_body = Assign, responses(
    (status = 200, description = "The plan in force; serial 0 while the branch has no terminals", body = PlanIssued),
    (status = 404, description = "No such branch", body = Problem, content_type = "application/problem+json"),
    (status = 409, description = "Not published, or fits no terminal there", body = Problem,
        content_type = "application/problem+json"),
    (status = 422, description = "A downgrade that was not asked for", body = Problem,
        content_type = "application/problem+json"),
))]
pub async fn assign(app: Data<App>, caller: Caller, body: Json<Assign>) -> ApiResult<Json<PlanIssued>> {
    let Assign { branch, product, version, downgrade } = &*body;
    let mut client = connection(&app.pool).await?;
    let transaction = begin(&mut client).await?;
    let done = assign::assign(&transaction, &body, &caller.name, app.clock.now(), &app.issuer).await?;
    let change = Change::of(format!("assignment of {product} to {branch}")).before(json!({ "version": done.before }));
    let change = change.after(json!({ "version": version, "downgrade": downgrade, "plan": done.serial }));
    app.audit.commit(transaction, &caller, change).await?;
    app.counters.plans_issued(done.issued.into());
    tracing::info!(%branch, %product, %version, by = caller.name, "assigned");
    Ok(Json(PlanIssued { branch: branch.clone(), serial: done.serial, terminals: done.terminals }))
}

/// End an assignment: the branch gets a plan without it.
///
/// Terminals keep what they run; an update that was not tried yet ends as withdrawn.
#[utoipa::path(delete, path = paths::ASSIGNMENT, tag = "assignments",
    params(("branch" = BranchName, Path), ("product" = ProductName, Path)), responses(
    (status = 200, description = "The plan in force, which names no terminal for this product", body = PlanIssued),
    (status = 404, description = "No such branch, or nothing of the product is assigned to it", body = Problem,
        content_type = "application/problem+json"),
))]
pub async fn unassign(
    app: Data<App>,
    caller: Caller,
    path: Path<(BranchName, ProductName)>,
) -> ApiResult<Json<PlanIssued>> {
    let (branch, product) = &*path;
    let mut client = connection(&app.pool).await?;
    let transaction = begin(&mut client).await?;
    let done = assign::unassign(&transaction, branch, product, app.clock.now(), &app.issuer).await?;
    let change = Change::of(format!("assignment of {product} to {branch}")).before(json!({ "version": done.before }));
    app.audit.commit(transaction, &caller, change.after(json!({ "plan": done.serial }))).await?;
    app.counters.plans_issued(done.issued.into());
    tracing::info!(%branch, %product, by = caller.name, "unassigned");
    Ok(Json(PlanIssued { branch: branch.clone(), serial: done.serial, terminals: Vec::new() }))
}
