//! The audit, for reading.

use actix_web::web::{Data, Json, Query};
use serde::Deserialize;
use service_kit::database::connection;
use service_kit::server::ApiError;
use wire::Problem;
use wire::v1::audit::{AuditHead, AuditPage, MAX_PAGE};
use wire::v1::paths;

use crate::anchor;
use crate::db;
use crate::{Access, ApiResult};

/// Which page.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
pub struct Page {
    /// Rows after this number, rising: 0 for the first.
    pub after: Option<u64>,
    /// Rows before this number, falling. Without `after` and `before`: the newest.
    pub before: Option<u64>,
    /// How many, 1 to 500; 50 if not said.
    pub limit: Option<u64>,
}

/// Who changed what, a page at a time.
#[utoipa::path(get, path = paths::AUDIT, tag = "audit", params(Page), responses(
    (status = 200, description = "Rows", body = AuditPage),
    (status = 422, description = "No such page", body = Problem, content_type = "application/problem+json"),
))]
pub async fn list(access: Data<Access>, page: Query<Page>) -> ApiResult<Json<AuditPage>> {
    let limit = page.limit.unwrap_or(50);
    if !(1..=MAX_PAGE).contains(&limit) {
        return Err(ApiError::bad_field("limit", format!("must be 1 to {MAX_PAGE}")));
    }
    let client = connection(&access.pool).await?;
    // One more than asked for says whether there is another page.
    let mut entries = match (page.after, page.before) {
        (Some(_), Some(_)) => return Err(ApiError::bad_field("before", "after and before exclude one another")),
        (Some(after), None) => db::audit::after(&client, after, limit + 1).await?,
        (None, before) => db::audit::before(&client, before.unwrap_or(u64::MAX), limit + 1).await?,
    };
    let more = entries.len() as u64 > limit;
    entries.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
    let next = entries.last().filter(|_| more).map(|entry| entry.seq);
    Ok(Json(AuditPage { entries, next }))
}

/// How far the audit reaches, in the database and in the file outside it.
#[utoipa::path(get, path = paths::AUDIT_HEAD, tag = "audit", responses(
    (status = 200, description = "Both", body = AuditHead),
))]
pub async fn head(access: Data<Access>) -> ApiResult<Json<AuditHead>> {
    let folder = access.state_folder.clone();
    // The file first: it never lies ahead of what is read after it.
    let anchor = tokio::task::spawn_blocking(move || anchor::read(&folder)).await;
    let anchor = anchor.map_err(ApiError::internal)?.map_err(ApiError::internal)?;
    let head = db::audit::head(&connection(&access.pool).await?).await?;
    Ok(Json(AuditHead { head, anchor }))
}
