//! Reports of branches.

use actix_web::web::{Data, Json};
use service_kit::server::Caller;
use wire::v1::reports::{Acknowledged, Batch};

use crate::app::App;
use crate::http::errors::ApiResult;
use crate::rollout::intake;

/// Stores a batch and says up to which number everything is stored.
pub async fn report(app: Data<App>, caller: Caller, body: Json<Batch>) -> ApiResult<Json<Acknowledged>> {
    Ok(Json(intake::take(&app, caller.branch_name()?, body.into_inner(), None).await?))
}
