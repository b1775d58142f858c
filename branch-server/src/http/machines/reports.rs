//! `POST /v1/reports`

use actix_web::web::{Data, Json};
use service_kit::server::{ApiError, Caller};
use wire::v1::paths;
use wire::v1::reports::{Acknowledged, Batch};

use crate::app::App;

/// Take a terminal's reports.
///
/// Numbered from 1 within an epoch; repeat them until they are acknowledged, each counts once.
#[utoipa::path(post, path = paths::REPORTS, tag = "machines", request_body = Batch, responses(
    (status = 200, description = "Stored durably up to here", body = Acknowledged),
    (status = 401, description = "`unauthenticated`", body = wire::Problem),
    (status = 403, description = "`not-yourself`: about another terminal", body = wire::Problem),
    (status = 409, description = "`report-out-of-order`: one is missing before these; `number-reused`: other reports are known under \
        their numbers", body = wire::Problem),
    (status = 413, description = "`batch-too-long`: more than 200 reports", body = wire::Problem),
    (status = 422, description = "`bad-field`", body = wire::Problem),
    (status = 429, description = "`too-many`: head office was away for too long", body = wire::Problem),
))]
pub async fn reports(app: Data<App>, caller: Caller, body: Json<Batch>) -> Result<Json<Acknowledged>, ApiError> {
    app.intake.store(caller.terminal_name()?, &body).await.map(Json)
}
