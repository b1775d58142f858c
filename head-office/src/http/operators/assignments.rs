//! Assignments: this branch runs this release.

use std::collections::BTreeSet;

use actix_web::web::{Data, Json, Path};
use fleet_types::{BranchName, ProductName, TerminalName};
use serde_json::json;
use service_kit::database::{GenericClient, begin, connection};
use service_kit::server::{ApiError, Caller};
use wire::v1::fleet::{Assign, PlanIssued};
use wire::v1::paths;
use wire::{Code, Problem};

use crate::access::audit::Change;
use crate::app::App;
use crate::db;
use crate::fleet::reports::MAX_TERMINALS;
use crate::http::errors::ApiResult;
use crate::rollout::tick::{self, Outcome};

/// Most reasons that a refusal lists.
const MAX_REASONS: usize = 5;

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
    // The release before the branch, as withdrawing does: neither waits for what the other holds.
    let release = db::releases::published(&transaction, product, version).await?;
    if !db::branches::lock(&transaction, branch).await? {
        return Err(ApiError::not_found(format_args!("branch {branch}")));
    }
    let release = release.ok_or_else(|| {
        let detail = format!("{product} {version} is not published.");
        ApiError::new(
            Code::NotPublished,
            detail,
            "Check its state (`filial release list`) and wait until it is published.",
        )
        .with("product", product)
        .with("version", version)
    })?;
    let now = app.clock.now();
    let before = assigned(&transaction, branch, product).await?;
    db::assignments::set(&transaction, branch, product, release.id, *downgrade, &caller.name, now).await?;
    let outcome = tick::branch(&transaction, branch, now, &app.issuer).await?;
    refuse_if_nothing_fits(&outcome, &body)?;
    if !downgrade {
        refuse_downgrade(&transaction, &outcome, &body).await?;
    }
    let newest = db::plans::newest(&transaction, branch).await?;
    let serial = newest.map_or(0, |p| p.serial);
    let change = Change::of(format!("assignment of {product} to {branch}")).before(json!({ "version": before }));
    let change = change.after(json!({ "version": version, "downgrade": downgrade, "plan": serial }));
    app.audit.commit(transaction, &caller, change).await?;
    app.counters.plans_issued(outcome.issued.iter().count() as u64);
    tracing::info!(%branch, %product, %version, by = caller.name, "assigned");
    Ok(Json(PlanIssued {
        branch: branch.clone(),
        serial,
        terminals: named(&outcome, product).into_iter().cloned().collect(),
    }))
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
    if !db::branches::lock(&transaction, branch).await? {
        return Err(ApiError::not_found(format_args!("branch {branch}")));
    }
    let before = assigned(&transaction, branch, product).await?;
    if !db::assignments::remove(&transaction, branch, product).await? {
        return Err(ApiError::not_found(format_args!("assignment of {product} to branch {branch}")));
    }
    let outcome = tick::branch(&transaction, branch, app.clock.now(), &app.issuer).await?;
    let newest = db::plans::newest(&transaction, branch).await?;
    let serial = newest.map_or(0, |p| p.serial);
    let change = Change::of(format!("assignment of {product} to {branch}")).before(json!({ "version": before }));
    app.audit.commit(transaction, &caller, change.after(json!({ "plan": serial }))).await?;
    app.counters.plans_issued(outcome.issued.iter().count() as u64);
    tracing::info!(%branch, %product, by = caller.name, "unassigned");
    Ok(Json(PlanIssued { branch: branch.clone(), serial, terminals: Vec::new() }))
}

/// What the branch is assigned of the product, for the audit.
async fn assigned<C: GenericClient>(c: &C, branch: &BranchName, product: &ProductName) -> ApiResult<Option<String>> {
    let all = db::assignments::of_branches(c, &[branch.as_str()]).await?;
    Ok(all.into_iter().find(|a| a.product == *product).map(|a| a.version.to_string()))
}

/// The terminals that get something of the product.
fn named<'a>(outcome: &'a Outcome, product: &ProductName) -> BTreeSet<&'a TerminalName> {
    let entries = outcome.proposal.steps.iter().chain(&outcome.proposal.packages);
    entries.filter(|s| s.product == *product).flat_map(|s| &s.terminals).collect()
}

/// A branch without terminals may be assigned anything.
///
/// The plan comes with the first that fits.
fn refuse_if_nothing_fits(outcome: &Outcome, body: &Assign) -> ApiResult<()> {
    let fits = !named(outcome, &body.product).is_empty();
    let mut excluded = outcome.proposal.excluded.iter().filter(|e| e.product == body.product).peekable();
    if fits || excluded.peek().is_none() {
        return Ok(());
    }
    let reasons: Vec<String> = excluded.take(MAX_REASONS).map(|e| format!("{}: {}", e.terminal, e.why)).collect();
    let detail =
        format!("{} {} fits no terminal of {}: {}.", body.product, body.version, body.branch, reasons.join("; "));
    Err(ApiError::new(
        Code::NothingToInstall,
        detail,
        "Publish a release with an image or a package for these terminals.",
    ))
}

async fn refuse_downgrade<C: GenericClient>(c: &C, outcome: &Outcome, body: &Assign) -> ApiResult<()> {
    // Of slots only: a package of an older version may lie beside what runs.
    let named = |name: &TerminalName| {
        outcome.proposal.steps.iter().any(|s| s.product == body.product && s.terminals.contains(name))
    };
    let terminals = db::terminals::of_branch(c, &body.branch, "", MAX_TERMINALS).await?;
    let ahead = terminals.into_iter().find(|t| named(&t.name) && t.version.as_ref().is_some_and(|v| *v > body.version));
    let Some(ahead) = ahead else { return Ok(()) };
    let runs = ahead.version.map(|v| v.to_string()).unwrap_or_default();
    let why = format!("{} runs {runs}, which is newer than {}", ahead.name, body.version);
    Err(ApiError::new(Code::BadField, format!("downgrade: {why}."), "Set downgrade to assign it anyway."))
}
