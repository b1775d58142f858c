//! From a token or a cookie to a caller.

use std::sync::Arc;

use actix_web::HttpRequest;
use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use fleet_types::OperatorName;
use service_kit::database::connection;
use service_kit::server::{ApiError, Authenticator, Caller, Via, is_private};
use service_kit::token;
use wire::Code;
use wire::v1::operators::Token;

use crate::Access;
use crate::db;

/// How exactly it is noted when something was last used.
const TOUCH_EVERY: TimeDelta = TimeDelta::minutes(1);

/// Knows operators by their tokens and sessions.
pub struct Doorkeeper(Arc<Access>);

impl Doorkeeper {
    /// Out of this server's database.
    pub fn new(access: Arc<Access>) -> Self {
        Self(access)
    }
}

fn refused_token(token: &Token, what: &str, at: DateTime<Utc>) -> ApiError {
    let day = at.format("%Y-%m-%d");
    let detail = format!("The token {} of {} {what} on {day}.", token.id, token.operator);
    ApiError::new(
        Code::Unauthenticated,
        detail,
        "Log in and create another token (`filial login`, `filial token create`).",
    )
}

#[async_trait]
impl Authenticator for Doorkeeper {
    async fn authenticate(&self, bearer: &str) -> Result<Option<Caller>, ApiError> {
        let client = connection(&self.0.pool).await?;
        let now = self.0.clock.now();
        let Some(held) = db::tokens::by_secret(&client, &token::hash(bearer)).await? else { return Ok(None) };
        let token = held.token;
        if let Some(revoked) = token.revoked {
            return Err(refused_token(&token, "was revoked", revoked));
        }
        if token.expires <= now {
            return Err(refused_token(&token, "expired", token.expires));
        }
        if held.disabled.is_some() {
            let detail = format!("The operator {} is disabled.", token.operator);
            return Err(ApiError::new(Code::Unauthenticated, detail, "Ask an admin to enable it."));
        }
        if token.last_used.is_none_or(|used| now - used >= TOUCH_EVERY) {
            db::tokens::touch(&client, token.id, now).await?;
        }
        // What its operator may not do any more, its tokens may not either.
        let role = token.role.min(held.operator_role);
        let caller = Caller::operator(token.operator.as_str(), role.into()).by(Via::Token(token.id));
        Ok(Some(Caller { scope: token.scope.map(|groups| groups.into_iter().collect()), ..caller }))
    }

    fn cookie(&self) -> Option<&'static str> {
        Some(self.0.server.cookie)
    }

    async fn session(&self, cookie: &str) -> Result<Option<Caller>, ApiError> {
        let client = connection(&self.0.pool).await?;
        let now = self.0.clock.now();
        let idle_since = now - self.0.settings.session_idle;
        let Some(held) = db::sessions::by_secret(&client, &token::hash(cookie), now, idle_since).await? else {
            return Ok(None);
        };
        if now - held.last_used >= TOUCH_EVERY {
            db::sessions::touch(&client, held.id, now).await?;
        }
        Ok(Some(Caller::operator(held.operator.as_str(), held.role.into()).by(Via::Session(held.id))))
    }
}

/// The operator that a caller of the operators' listener is.
///
/// # Errors
/// The name is invalid.
pub fn operator_of(caller: &Caller) -> Result<OperatorName, ApiError> {
    caller.name.parse().map_err(|e: fleet_types::NameError| ApiError::internal(e))
}

/// Refuses a request with a password in it where others could read it.
///
/// # Errors
/// They could.
pub fn only_in_private(request: &HttpRequest) -> Result<(), ApiError> {
    if is_private(request) {
        return Ok(());
    }
    let detail = "Passwords are not accepted over a connection that others can read.";
    let remedy = "Use HTTPS, or connect from the server's own machine (`ssh -L`).";
    Err(ApiError::new(Code::PlainConnection, detail, remedy))
}
