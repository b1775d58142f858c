//! Releases.

use access::audit::Change;
use actix_web::web::{Data, Json, Path, Payload, Query};
use actix_web::{HttpRequest, HttpResponse};
use fleet_types::{ProductName, ReleaseState, Version};
use serde::Deserialize;
use serde_json::json;
use service_kit::database::{begin, connection};
use service_kit::edge::failures;
use service_kit::server::{ApiError, Caller, Missing};
use trust::repository::{MAX_PROPOSAL, Proposal};
use uuid::Uuid;
use wire::v1::paths;
use wire::v1::releases::{Approve, Release, Withdraw, Withdrawn};
use wire::{Code, Problem};

use crate::app::App;
use crate::db;
use crate::db::releases::After;
use crate::http::errors::{ApiResult, not_moved, untrusted};
use crate::http::page;
use crate::releases::approve::approve as accept;
use crate::releases::view::{view, view_all};
use crate::releases::withdraw::{vouch_no_more, withdraw as take_back};
use crate::releases::{signing, uploads};

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

/// Releases, newest first, by page.
///
/// The `Link` header leads to the next page, if there is one.
#[utoipa::path(get, path = paths::RELEASES, tag = "releases", params(Listing), responses(
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
#[utoipa::path(get, path = paths::RELEASE, tag = "releases", params(("id" = Uuid, Path)), responses(
    (status = 200, description = "The release", body = Release),
    (status = 404, description = "No such release", body = Problem, content_type = "application/problem+json"),
))]
pub async fn show(app: Data<App>, id: Path<Uuid>) -> ApiResult<Json<Release>> {
    let client = connection(&app.pool).await?;
    let row = db::releases::find(&client, *id).await?.ok_or_else(|| ApiError::not_found(Missing::Release, &id))?;
    Ok(Json(view(&client, &app.store, row).await?))
}

/// Accept a release's warnings: it will be published, once it is signed.
#[utoipa::path(post, path = paths::RELEASE_APPROVE, tag = "releases", params(("id" = Uuid, Path)),
    request_body = Approve, responses(
    (status = 200, description = "The release, approved, or waiting for signatures alone", body = Release),
    (status = 409, description = "It does not wait for this, or a freeze is in force", body = Problem, content_type = "application/problem+json"),
    (status = 422, description = "No reason was given", body = Problem, content_type = "application/problem+json"),
))]
pub async fn approve(app: Data<App>, id: Path<Uuid>, caller: Caller, body: Json<Approve>) -> ApiResult<Json<Release>> {
    let reason = given_reason(&body.reason)?;
    let mut client = connection(&app.pool).await?;
    let transaction = begin(&mut client).await?;
    let found = db::releases::lock(&transaction, *id).await?;
    let release = found.ok_or_else(|| ApiError::not_found(Missing::Release, &id))?;
    let (by, policy, now) = ((caller.name.as_str(), reason.as_str()), &app.settings.policy, app.clock.now());
    let state = accept(&transaction, &release, by, policy, &app.trust, now).await?;
    let change = Change::of(format!("release {id}")).because(Some(&reason)).before(json!({ "state": release.state }));
    let change = change.after(json!({ "state": state, "accepted": true }));
    app.audit.commit(transaction, &caller, change).await?;
    tracing::info!(release = %id, by = caller.name, reason, "warnings accepted");
    let row = db::releases::find(&client, *id).await?.ok_or_else(|| ApiError::not_found(Missing::Release, &id))?;
    Ok(Json(view(&client, &app.store, row).await?))
}

/// Post signatures of a release: a file that `filial release sign` wrote, as it is.
///
/// One file after the other may come, by one holder or several; with enough of them, and once its warnings are
/// accepted, the release goes on by itself.
#[utoipa::path(post, path = paths::RELEASE_SIGNATURES, tag = "releases", params(("id" = Uuid, Path)),
    request_body(content = Vec<u8>, content_type = "application/json"), responses(
    (status = 200, description = "The release; who signed, and how many signatures are missing", body = Release),
    (status = 409, description = "It does not wait for signatures, or another change of the product came first: sign again",
        body = Problem, content_type = "application/problem+json"),
    (status = 413, description = "The file is longer than any", body = Problem, content_type = "application/problem+json"),
    (status = 422, description = "It signs something else, or no holder of the role signed it", body = Problem,
        content_type = "application/problem+json"),
))]
pub async fn sign(app: Data<App>, id: Path<Uuid>, caller: Caller, body: Payload) -> ApiResult<Json<Release>> {
    let bytes = body.to_bytes_limited(MAX_PROPOSAL as usize).await.map_err(|_| {
        let detail = format!("The file has more than {MAX_PROPOSAL} bytes, the most that a signature file may have.");
        ApiError::new(Code::TooLarge, detail, "Post the file that `filial release sign` wrote.")
    })?;
    let bytes = bytes
        .map_err(|e| ApiError::new(Code::BadRequest, format!("The file arrived incomplete: {e}."), "Post it again."))?;
    let parsed = tokio::task::spawn_blocking(move || Proposal::parse(&bytes)).await.map_err(ApiError::internal)?;
    let proposal = parsed.map_err(|refusal| untrusted(&refusal))?;
    app.trust.look_again(app.clock.now()).await?;
    let mut client = connection(&app.pool).await?;
    let transaction = begin(&mut client).await?;
    let found = db::releases::lock(&transaction, *id).await?;
    let release = found.ok_or_else(|| ApiError::not_found(Missing::Release, &id))?;
    if release.state != ReleaseState::AwaitingSignature {
        let detail = format!("The release is {} and does not accept signatures.", release.state);
        let remedy = "Signatures are accepted between the end of validation and approval.";
        return Err(ApiError::new(Code::WrongState, detail, remedy));
    }
    let now = app.clock.now();
    let signed = signing::take(&transaction, &app.trust, &release, proposal, now).await?;
    let state = signing::settle(&transaction, &app.trust, &release, now).await?;
    let change = Change::of(format!("release {id}")).before(json!({ "state": release.state }));
    let change = change.after(json!({ "state": state, "signed_by": signed.signed_by, "missing": signed.missing }));
    app.audit.commit(transaction, &caller, change).await?;
    tracing::info!(release = %id, by = caller.name, missing = signed.missing, "signatures posted");
    let row = db::releases::find(&client, *id).await?.ok_or_else(|| ApiError::not_found(Missing::Release, &id))?;
    Ok(Json(view(&client, &app.store, row).await?))
}

/// Withdraw a release in any state.
///
/// Its assignments end, their branches get plans without it, and a job that works on it stops. Its version may be uploaded
/// again.
#[utoipa::path(post, path = paths::RELEASE_WITHDRAW, tag = "releases", params(("id" = Uuid, Path)),
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
    // Ends a request that still writes its archive, and keeps others from starting.
    let _claim = app.uploads.claims.claim_from_anybody(*id, &caller.name).await?;
    let mut client = connection(&app.pool).await?;
    let transaction = begin(&mut client).await?;
    let found = db::releases::lock(&transaction, *id).await?;
    let release = found.ok_or_else(|| ApiError::not_found(Missing::Release, &id))?;
    let now = app.clock.now();
    let done = take_back(&transaction, &release, &reason, &caller.name, now, &app.issuer).await.map_err(not_moved)?;
    let payloads = signing::of_release(&transaction, &release).await?;
    let row = db::releases::find(&transaction, *id).await?;
    let row = row.ok_or_else(|| ApiError::not_found(Missing::Release, &id))?;
    let change = Change::of(format!("release {id}")).because(Some(&reason)).before(json!({ "state": release.state }));
    let change = change.after(json!({ "state": ReleaseState::Withdrawn, "branches": done.branches }));
    app.audit.commit(transaction, &caller, change).await?;
    app.counters.plans_issued(done.plans as u64);
    tracing::info!(release = %id, by = caller.name, reason, branches = done.branches, "release withdrawn");
    uploads::remove(&app.store.upload(*id)).await;
    app.retire.notify_one();
    let to_do: Vec<String> = done.to_do().into_iter().chain(vouch_no_more(&app.trust, payloads, now).await).collect();
    if !done.failed.is_empty() {
        tracing::error!(release = %id, failed = failures(&done.failed), "plans of branches cannot follow a withdrawal");
    }
    let to_do = (!to_do.is_empty()).then(|| to_do.join(" "));
    let release = view(&client, &app.store, row).await?;
    Ok(Json(Withdrawn { release, branches: done.branches as u64, to_do }))
}

/// A reason for people: some text, not too much of it, and none that a database cannot hold.
fn given_reason(text: &str) -> ApiResult<String> {
    let reason = text.trim().replace('\0', "");
    if reason.is_empty() || reason.len() > wire::MAX_REASON_LEN {
        return Err(ApiError::bad_field("reason", format_args!("must have 1 to {} bytes", wire::MAX_REASON_LEN)));
    }
    Ok(reason)
}
