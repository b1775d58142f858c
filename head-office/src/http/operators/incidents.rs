//! Bad data that arrived somewhere.

use actix_web::web::{Data, Json, Query};
use serde::Deserialize;
use service_kit::database::connection;
use service_kit::server::ApiError;
use wire::Problem;
use wire::v1::incidents::{Incidents, MAX_PAGE};
use wire::v1::paths;

use crate::app::App;
use crate::db;
use crate::http::errors::ApiResult;

/// Which page.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
pub struct Page {
    /// Only those older than the one with this number: `next` of the page before.
    pub before: Option<u64>,
    /// How many, 1 to 200; 50 if not said.
    pub limit: Option<u64>,
}

/// Incidents, newest first, a page at a time.
#[utoipa::path(get, path = paths::INCIDENTS, tag = "incidents", params(Page), responses(
    (status = 200, description = "Incidents", body = Incidents),
    (status = 422, description = "No such page", body = Problem, content_type = "application/problem+json"),
))]
pub async fn list(app: Data<App>, page: Query<Page>) -> ApiResult<Json<Incidents>> {
    let limit = page.limit.unwrap_or(50);
    if !(1..=MAX_PAGE).contains(&limit) {
        return Err(ApiError::bad_field("limit", format!("must be 1 to {MAX_PAGE}")));
    }
    let client = connection(&app.pool).await?;
    // One more than asked for says whether there is another page.
    let mut incidents = db::incidents::page(&client, page.before, limit + 1).await?;
    let more = incidents.len() as u64 > limit;
    incidents.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
    let next = incidents.last().filter(|_| more).map(|i| i.id);
    Ok(Json(Incidents { incidents, next }))
}
