//! A branch server exchanges its join token for an identity.

use actix_web::HttpRequest;
use actix_web::web::{Data, Json};
use serde_json::json;
use service_kit::database::{begin, connection};
use service_kit::server::{ApiError, Caller, Via};
use service_kit::token::{self, MAX_TOKEN_LEN};
use wire::Code;
use wire::v1::sync::{EnrolRequest, EnrolResponse};

use crate::app::App;
use crate::audit::{self, Change};
use crate::db;
use crate::error::ApiResult;

/// Exchanges a join token, once.
pub async fn enrol(app: Data<App>, request: HttpRequest, body: Json<EnrolRequest>) -> ApiResult<Json<EnrolResponse>> {
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
    let mut client = connection(&app.pool).await?;
    let transaction = begin(&mut client).await?;
    let (join, hash) = (token::hash(&body.join_token), token::hash(fresh.expose()));
    let branch = db::branches::enrol(&transaction, &join, &hash, app.clock.now()).await?.ok_or_else(refused)?;
    let address = request.peer_addr().map(|peer| peer.ip().to_canonical());
    let caller = Caller::branch(branch.clone()).by(Via::JoinToken).asking("POST /v1/enrol", address);
    let change = Change::of(format!("branch {branch}")).after(json!({ "enrolled": true }));
    audit::commit_with(&app, transaction, &caller, change).await?;
    tracing::info!(%branch, "branch enrolled");
    Ok(Json(EnrolResponse { branch, token: fresh.expose().to_owned() }))
}
