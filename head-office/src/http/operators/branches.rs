//! Branches.

use access::audit::Change;
use actix_web::web::{Data, Json, Path, Query};
use actix_web::{HttpRequest, HttpResponse};
use chrono::{DateTime, TimeDelta, Utc};
use fleet_types::BranchName;
use serde::Deserialize;
use serde_json::json;
use service_kit::database::{begin, connection};
use service_kit::server::{ApiError, Caller, Missing};
use service_kit::token;
use trust::certificates::JoinToken;
use wire::v1::fleet::{AddBranch, Branch, BranchAdded, BranchRemoved, DenyBranch};
use wire::v1::paths;
use wire::{Code, Problem};

use crate::app::App;
use crate::db;
use crate::fleet::events::{audience, wake};
use crate::fleet::removal::forget;
use crate::fleet::views::branches;
use crate::http::errors::ApiResult;
use crate::http::page;

/// A branch with a terminal that was heard so recently is in use.
const IN_USE: TimeDelta = TimeDelta::hours(24);
/// Most terminals that a refusal names.
const MAX_NAMED: i64 = 5;

/// Longest that a join token may be used, in seconds: a year, as the setting has it too.
const LONGEST_JOIN: u32 = 365 * 86_400;

/// Branches on one page, unless the caller says otherwise.
const PAGE: u32 = 200;

/// Which branches.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
pub struct Listing {
    /// At most so many, 1 to 1,000; 200 without.
    pub limit: Option<u32>,
    /// Those after this name.
    pub after: Option<BranchName>,
}

/// Branches by name, by page. The `Link` header leads to the next page, if there is one.
#[utoipa::path(get, path = paths::BRANCHES, tag = "branches", params(Listing), responses(
    (status = 200, description = "Branches", body = Vec<Branch>,
        headers(("Link" = String, description = "The next page, as rel=next"))),
    (status = 422, description = "No such page", body = Problem, content_type = "application/problem+json"),
))]
pub async fn list(app: Data<App>, request: HttpRequest, listing: Query<Listing>) -> ApiResult<HttpResponse> {
    let rows = page::rows(listing.limit, PAGE)?;
    let client = connection(&app.pool).await?;
    let after = listing.after.as_ref().map_or("", BranchName::as_str);
    let mut found = db::branches::all(&client, after, rows).await?;
    let more = page::cut(&mut found, rows);
    let next = found.last().filter(|_| more).map(|b| b.name.to_string());
    Ok(page::answer(&request, &branches(&client, found).await?, next))
}

/// One branch.
#[utoipa::path(get, path = paths::BRANCH, tag = "branches", params(("branch" = BranchName, Path)), responses(
    (status = 200, description = "The branch", body = Branch),
    (status = 404, description = "No such branch", body = Problem, content_type = "application/problem+json"),
))]
pub async fn show(app: Data<App>, branch: Path<BranchName>) -> ApiResult<Json<Branch>> {
    let client = connection(&app.pool).await?;
    let row = db::branches::find(&client, &branch).await?;
    let missing = || ApiError::not_found(Missing::Branch, &branch);
    let found = branches(&client, vec![row.ok_or_else(missing)?]).await?.pop();
    Ok(Json(found.ok_or_else(missing)?))
}

/// Add a branch and show its join token, this once.
///
/// A branch whose token expired before a server joined can be added again.
#[utoipa::path(post, path = paths::BRANCHES, tag = "branches", request_body = AddBranch, responses(
    (status = 201, description = "The branch and its join token", body = BranchAdded),
    (status = 409, description = "The name is taken", body = Problem, content_type = "application/problem+json"),
    (status = 422, description = "The name or the time is not allowed", body = Problem, content_type = "application/problem+json"),
))]
pub async fn add(app: Data<App>, caller: Caller, body: Json<AddBranch>) -> ApiResult<HttpResponse> {
    let name = &body.name;
    let join_token = JoinToken::generate(app.tls.fingerprint());
    let now = app.clock.now();
    let life = match body.join_token_seconds {
        Some(seconds @ 1..=LONGEST_JOIN) => TimeDelta::seconds(seconds.into()),
        Some(_) => return Err(ApiError::bad_field("join_token_seconds", format!("must be from 1 to {LONGEST_JOIN}"))),
        None => app.settings.join_token_life,
    };
    let expires = now + life;
    let mut client = connection(&app.pool).await?;
    let transaction = begin(&mut client).await?;
    let hash = token::hash(join_token.secret.expose());
    if !db::branches::insert(&transaction, name, &hash, expires, &caller.name, now).await? {
        let detail = format!("Branch {name} exists already.");
        return Err(ApiError::new(Code::NameTaken, detail, "Choose another name."));
    }
    let change = Change::of(format!("branch {name}")).after(json!({ "join_token_expires": expires }));
    app.audit.commit(transaction, &caller, change).await?;
    tracing::info!(branch = %name, by = caller.name, "branch added");
    Ok(HttpResponse::Created().json(BranchAdded {
        name: name.clone(),
        join_token: join_token.to_text().expose().to_owned(),
        join_token_expires: expires,
    }))
}

/// How to remove.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
pub struct Removal {
    /// Also a branch whose terminals were heard within the last 24 hours.
    #[serde(default)]
    pub force: bool,
}

/// Remove a branch with its terminals, plans and history.
///
/// Its server's identity is void from now on; its terminals keep what they run. The name is free again.
#[utoipa::path(delete, path = paths::BRANCH, tag = "branches",
    params(("branch" = BranchName, Path), Removal), responses(
    (status = 200, description = "It is gone", body = BranchRemoved),
    (status = 404, description = "No such branch", body = Problem, content_type = "application/problem+json"),
    (status = 409, description = "Its terminals are in use", body = Problem, content_type = "application/problem+json"),
))]
pub async fn remove(
    app: Data<App>,
    caller: Caller,
    branch: Path<BranchName>,
    removal: Query<Removal>,
) -> ApiResult<Json<BranchRemoved>> {
    let mut client = connection(&app.pool).await?;
    let transaction = begin(&mut client).await?;
    if !db::branches::lock(&transaction, &branch).await? {
        return Err(ApiError::not_found(Missing::Branch, &branch));
    }
    let now = app.clock.now();
    let heard = db::terminals::heard_since(&transaction, &branch, now - IN_USE, MAX_NAMED).await?;
    if !heard.is_empty() && !removal.force {
        let names: Vec<&str> = heard.iter().map(|name| name.as_str()).collect();
        let hours = IN_USE.num_hours();
        let detail = format!("Terminals of {branch} were heard within {hours} hours, such as {}.", names.join(", "));
        let remedy =
            "Stop the branch's server and terminals and wait, or force the removal (`filial branch remove --force`).";
        return Err(ApiError::new(Code::BranchInUse, detail, remedy));
    }
    let terminals = forget(&transaction, &branch, &caller.name, now).await?;
    let change = Change::of(format!("branch {branch}")).before(json!({ "terminals": terminals }));
    let change = change.after(json!({ "removed": true, "forced": removal.force }));
    app.audit.commit(transaction, &caller, change).await?;
    app.holders.follow(&client).await;
    tracing::info!(%branch, terminals, forced = !heard.is_empty(), by = caller.name, "branch removed");
    Ok(Json(BranchRemoved { name: branch.into_inner(), terminals }))
}

/// Deny the certificate of a branch's server.
///
/// It is refused from its next request on, and gets no new one. Its plan stays in force where it was accepted.
#[utoipa::path(post, path = paths::BRANCH_DENY, tag = "branches", params(("branch" = BranchName, Path)),
    request_body = DenyBranch, responses(
    (status = 200, description = "The branch", body = Branch),
    (status = 404, description = "No such branch", body = Problem, content_type = "application/problem+json"),
))]
pub async fn deny(
    app: Data<App>,
    caller: Caller,
    branch: Path<BranchName>,
    body: Json<DenyBranch>,
) -> ApiResult<Json<Branch>> {
    set_denied(&app, &caller, &branch, &body, Some(app.clock.now())).await
}

/// Let the certificate of a branch's server count again.
#[utoipa::path(post, path = paths::BRANCH_ALLOW, tag = "branches", params(("branch" = BranchName, Path)),
    request_body = DenyBranch, responses(
    (status = 200, description = "The branch", body = Branch),
    (status = 404, description = "No such branch", body = Problem, content_type = "application/problem+json"),
))]
pub async fn allow(
    app: Data<App>,
    caller: Caller,
    branch: Path<BranchName>,
    body: Json<DenyBranch>,
) -> ApiResult<Json<Branch>> {
    set_denied(&app, &caller, &branch, &body, None).await
}

async fn set_denied(
    app: &App,
    caller: &Caller,
    branch: &BranchName,
    body: &DenyBranch,
    since: Option<DateTime<Utc>>,
) -> ApiResult<Json<Branch>> {
    let mut client = connection(&app.pool).await?;
    let transaction = begin(&mut client).await?;
    let missing = || ApiError::not_found(Missing::Branch, &branch);
    if !db::branches::lock(&transaction, branch).await? {
        return Err(missing());
    }
    let before = db::branches::find(&transaction, branch).await?.and_then(|row| row.denied);
    // Denied again, it is denied since the first time.
    let since = since.map(|now| before.unwrap_or(now));
    db::branches::deny(&transaction, branch, since).await?;
    // Its server looks again, and is refused or admitted.
    wake(&transaction, &[audience(branch)], app.clock.now()).await?;
    let change = Change::of(format!("branch {branch}")).because(body.reason.as_deref());
    let change = change.before(json!({ "denied": before })).after(json!({ "denied": since }));
    app.audit.commit(transaction, caller, change).await?;
    app.holders.follow(&client).await;
    tracing::info!(%branch, denied = since.is_some(), by = caller.name, "branch's identity");
    let row = db::branches::find(&client, branch).await?.ok_or_else(missing)?;
    let found = branches(&client, vec![row]).await?.pop();
    Ok(Json(found.ok_or_else(missing)?))
}
