//! Reports of branches.

use actix_web::web::{Data, Json};
use service_kit::server::Caller;
use wire::Problem;
use wire::v1::paths;
use wire::v1::reports::{Acknowledged, Batch};

use crate::app::App;
use crate::http::errors::ApiResult;

/// Stores a batch and says up to which number everything is stored.
#[utoipa::path(post, path = paths::REPORTS, tag = "reports", request_body = Batch, responses(
    (status = 200, description = "Up to where everything is stored, and what of it does not count", body = Acknowledged),
    (status = 409, description = "`report-out-of-order`: earlier reports are missing; `number-reused`: other reports are known under their \
        numbers", body = Problem, content_type = "application/problem+json"),
    (status = 422, description = "A report is invalid", body = Problem, content_type = "application/problem+json"),
))]
pub async fn report(app: Data<App>, caller: Caller, body: Json<Batch>) -> ApiResult<Json<Acknowledged>> {
    Ok(Json(app.intake.take(caller.branch_name()?, body.into_inner(), None).await?))
}
