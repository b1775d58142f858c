//! A terminal exchanges the branch's join token for an identity.

use actix_web::web::{Data, Json};
use service_kit::database::connection;
use service_kit::token;
use wire::Code;
use wire::v1::reports::Report;
use wire::v1::sync::{EnrolRequest, EnrolResponse};

use crate::app::App;
use crate::db::{self, site, terminals};
use crate::error::ApiError;
use crate::{intake, relay};

/// Enrol a terminal.
///
/// A terminal that enrols again (its data partition was lost) gets a new token; its old one ends.
#[utoipa::path(post, path = "/v1/enrol", tag = "machines", request_body = EnrolRequest, responses(
    (status = 200, description = "The identity", body = EnrolResponse),
    (status = 403, description = "`join-refused`: the join token is not this branch's", body = wire::Problem),
    (status = 422, description = "`bad-field`: facts are missing or out of range", body = wire::Problem),
    (status = 429, description = "`too-many-terminals`, as its settings allow; `too-many`: too many refused tries", body = wire::Problem),
    (status = 503, description = "`not-ready`: this branch server has not enrolled itself", body = wire::Problem),
))]
pub async fn enrol(app: Data<App>, body: Json<EnrolRequest>) -> Result<Json<EnrolResponse>, ApiError> {
    let request = body.into_inner();
    // Hashes are compared, so what a stranger could time is nothing that they can steer.
    if token::hash(&request.join_token) != app.join_token {
        let detail = "This is not the join token of this branch's terminals.";
        return Err(ApiError::new(Code::JoinRefused, detail, "Take it from the branch server's configuration."));
    }
    let facts = request.terminal.ok_or_else(|| ApiError::bad_field("terminal", "is missing"))?;
    intake::check_facts(&facts)?;
    let mut client = connection(&app.pool).await?;
    let tx = db::begin(&mut client).await?;
    // Locked, so that terminals enrol one after the other and the bound holds.
    let Some(branch) = site::lock(&tx).await?.branch else {
        let detail = "This branch server has not enrolled at head office, so it does not know its own name yet.";
        return Err(ApiError::new(Code::NotReady, detail, "Try again once it has."));
    };
    let known = terminals::read(&tx, &facts.name).await?;
    if known.is_none() && terminals::count(&tx).await? >= app.settings.terminals.max {
        let detail = format!("This branch has {} terminals, as many as it may.", app.settings.terminals.max);
        return Err(ApiError::new(
            Code::TooManyTerminals,
            detail,
            "Raise terminals.max in the branch server's configuration.",
        ));
    }
    let bearer = token::generate("terminal");
    let now = app.clock.now();
    terminals::enrol(&tx, &facts, token::hash(bearer.expose()).as_bytes(), now).await?;
    relay::queue(&tx, now, &Report::TerminalSeen { facts: facts.clone() }).await?;
    db::commit(tx).await?;
    app.signals.relay.notify_one();
    tracing::info!(terminal = %facts.name, again = known.is_some(), "terminal enrolled");
    Ok(Json(EnrolResponse { branch, token: bearer.expose().to_owned() }))
}
