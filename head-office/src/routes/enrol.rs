//! A branch server exchanges its join token for an identity.

use actix_web::web::{Data, Json};
use service_kit::database::connection;
use service_kit::server::ApiError;
use service_kit::token::{self, MAX_TOKEN_LEN};
use wire::Code;
use wire::v1::sync::{EnrolRequest, EnrolResponse};

use crate::app::App;
use crate::db;
use crate::error::ApiResult;

/// Exchanges a join token, once.
pub async fn enrol(app: Data<App>, body: Json<EnrolRequest>) -> ApiResult<Json<EnrolResponse>> {
    if body.terminal.is_some() {
        return Err(ApiError::bad_field("terminal", "terminals enrol with their branch server, not here"));
    }
    let refused = || {
        // One answer for unknown, used and expired: a stranger learns nothing.
        let detail = "The join token is unknown, was used, or has expired.";
        ApiError::new(
            Code::JoinRefused,
            detail,
            "Ask head office's operator to add the branch again (filial branch add).",
        )
    };
    if body.join_token.len() > MAX_TOKEN_LEN {
        return Err(refused());
    }
    let fresh = token::generate("branch");
    let client = connection(&app.pool).await?;
    let (join, hash) = (token::hash(&body.join_token), token::hash(fresh.expose()));
    let branch = db::branches::enrol(&client, &join, &hash, app.clock.now()).await?.ok_or_else(refused)?;
    tracing::info!(%branch, "branch enrolled");
    Ok(Json(EnrolResponse { branch, token: fresh.expose().to_owned() }))
}
