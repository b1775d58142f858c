//! Releases.

use actix_web::web::{Data, Json, Path, Query};
use actix_web::{HttpRequest, HttpResponse};
use fleet_types::{ProductName, ReleaseState, Version};
use serde::Deserialize;
use serde_json::json;
use service_kit::database::{begin, connection};
use service_kit::server::{ApiError, Caller};
use uuid::Uuid;
use wire::v1::releases::{Approve, Release, Withdraw, Withdrawn};
use wire::{Code, Problem};

use crate::app::App;
use crate::audit::{self, Change};
use crate::db;
use crate::db::releases::After;
use crate::error::{ApiResult, frozen, not_moved};
use crate::jobs::remove_archive;
use crate::releases::{advance, settle_freeze, view, view_all, withdraw as take_back};
use crate::routes::page;

/// Releases on one page, unless the caller says otherwise.
const PAGE: u32 = 100;

/// Which releases.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
pub struct Listing {
    /// At most so many, 1 to 1,000; 100 without.
    pub limit: Option<u32>,
    /// Those after this release, by its id.
    pub after: Option<Uuid>,
    /// Only those of this product; with `version`.
    pub product: Option<ProductName>,
    /// Only those of this version; with `product`.
    pub version: Option<Version>,
}

/// Releases, newest first, by page. The `Link` header leads to the next page, if there is one.
#[utoipa::path(get, path = "/v1/releases", tag = "releases", params(Listing), responses(
    (status = 200, description = "Releases", body = Vec<Release>,
        headers(("Link" = String, description = "The next page, as rel=next"))),
    (status = 422, description = "No such page", body = Problem, content_type = "application/problem+json"),
))]
pub async fn list(app: Data<App>, request: HttpRequest, listing: Query<Listing>) -> ApiResult<HttpResponse> {
    let rows = page::rows(listing.limit, PAGE)?;
    let client = connection(&app.pool).await?;
    let after = match listing.after {
        Some(id) => {
            let unknown = || ApiError::bad_field("after", format_args!("there is no release {id}"));
            db::releases::place(&client, id).await?.ok_or_else(unknown)?
        }
        None => After::default(),
    };
    let mut found = match (&listing.product, &listing.version) {
        (Some(product), Some(version)) => {
            db::releases::newest_of_version(&client, product, version, after, rows).await?
        }
        (None, None) => db::releases::newest(&client, after, rows).await?,
        _ => return Err(ApiError::bad_field("version", "product and version are given together")),
    };
    let more = page::cut(&mut found, rows);
    let next = found.last().filter(|_| more).map(|r| r.id.to_string());
    Ok(page::answer(&request, &view_all(&client, &app.store, found).await?, next))
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
    let reason = given_reason(&body.reason)?;
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
    let change = Change::of(format!("release {id}")).because(Some(&reason)).before(json!({ "state": release.state }));
    let change = change.after(json!({ "state": ReleaseState::Approved }));
    audit::commit_with(&app, transaction, &caller, change).await?;
    tracing::info!(release = %id, by = caller.name, reason, "warnings accepted");
    let row =
        db::releases::find(&client, *id).await?.ok_or_else(|| ApiError::not_found(format_args!("release {id}")))?;
    Ok(Json(view(&client, &app.store, row).await?))
}

/// Withdraw a release, wherever it stands: assignments to it end, the branches' plans are made anew without it, and a job
/// that works on it stops. Its version may be uploaded again.
#[utoipa::path(post, path = "/v1/releases/{id}/withdraw", tag = "releases", params(("id" = Uuid, Path)),
    request_body = Withdraw, responses(
    (status = 200, description = "The release, withdrawn, and how many branches had it", body = Withdrawn),
    (status = 409, description = "It has ended already", body = Problem, content_type = "application/problem+json"),
    (status = 422, description = "No reason was given", body = Problem, content_type = "application/problem+json"),
))]
pub async fn withdraw(
    app: Data<App>,
    id: Path<Uuid>,
    caller: Caller,
    body: Json<Withdraw>,
) -> ApiResult<Json<Withdrawn>> {
    let reason = given_reason(&body.reason)?;
    // Whoever still writes its archive is ended, and nobody begins to.
    let _claim = app.claims.claim_from_anybody(*id, &caller.name).await?;
    let mut client = connection(&app.pool).await?;
    let transaction = begin(&mut client).await?;
    let found = db::releases::lock(&transaction, *id).await?;
    let release = found.ok_or_else(|| ApiError::not_found(format_args!("release {id}")))?;
    let (now, life) = (app.clock.now(), app.settings.plan.life);
    let done = take_back(&transaction, &release, &reason, &caller.name, now, life).await.map_err(not_moved)?;
    let row = db::releases::find(&transaction, *id).await?;
    let row = row.ok_or_else(|| ApiError::not_found(format_args!("release {id}")))?;
    let change = Change::of(format!("release {id}")).because(Some(&reason)).before(json!({ "state": release.state }));
    let change = change.after(json!({ "state": ReleaseState::Withdrawn, "branches": done.branches }));
    audit::commit_with(&app, transaction, &caller, change).await?;
    (0..done.plans).for_each(|_| app.counters.plan_issued());
    tracing::info!(release = %id, by = caller.name, reason, branches = done.branches, "release withdrawn");
    remove_archive(&app, *id).await;
    app.retire.notify_one();
    let release = view(&client, &app.store, row).await?;
    Ok(Json(Withdrawn { release, branches: done.branches as u64 }))
}

/// A reason for people: some text, not too much of it, and none that a database cannot hold.
fn given_reason(text: &str) -> ApiResult<String> {
    let reason = text.trim().replace('\0', "");
    if reason.is_empty() || reason.len() > wire::MAX_REASON_LEN {
        return Err(ApiError::bad_field("reason", format_args!("must have 1 to {} bytes", wire::MAX_REASON_LEN)));
    }
    Ok(reason)
}
