//! By which keys terminals are known, and what an admin of the branch does about one that was stolen or replaced.

use actix_web::web::{Data, Json, Path};
use chrono::{DateTime, Utc};
use fleet_types::{Digest, TerminalName};
use rustls_pki_types::CertificateDer;
use serde::{Deserialize, Serialize};
use service_kit::database::{GenericClient, connection};
use service_kit::server::{ApiError, Caller};
use trust::certificates::validity;
use wire::Code;

use crate::app::App;
use crate::db::terminals;
use crate::text::presentable;

/// By which key a terminal is known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct TerminalIdentity {
    /// The terminal.
    pub name: TerminalName,
    /// When it enrolled.
    pub enrolled: DateTime<Utc>,
    /// SHA-256 of its public key (SubjectPublicKeyInfo, DER); none before it enrolled with one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<Digest>,
    /// Until when the certificate lasts that was issued to it last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate_expires: Option<DateTime<Utc>>,
    /// Since when its identity is denied, if it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub denied: Option<DateTime<Utc>>,
    /// Another key that asked in its name last, with the join token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked: Option<AskedKey>,
}

/// A key that is not let in by itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct AskedKey {
    /// Its SHA-256.
    pub key: Digest,
    /// When it asked last.
    pub at: DateTime<Utc>,
}

/// Why a terminal is denied.
#[derive(Debug, Clone, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DenyTerminal {
    /// For the log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// A terminal's identity is to count again.
#[derive(Debug, Clone, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AllowTerminal {
    /// SHA-256 of the key that counts from now on; none: the one that it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<Digest>,
}

fn terminal(text: &str) -> Result<TerminalName, ApiError> {
    text.parse().map_err(|e| ApiError::bad_field("name", e))
}

async fn shown<C: GenericClient>(client: &C, name: &TerminalName) -> Result<Json<TerminalIdentity>, ApiError> {
    let found = terminals::identity(client, name).await?;
    let found = found.ok_or_else(|| ApiError::not_found(format!("terminal {name}")))?;
    let until = |der: Vec<u8>| validity(&CertificateDer::from(der)).ok().map(|(_, until)| until);
    Ok(Json(TerminalIdentity {
        name: found.name,
        enrolled: found.enrolled,
        key: found.key,
        certificate_expires: found.certificate.and_then(until),
        denied: found.denied,
        asked: found.asked.map(|(key, at)| AskedKey { key, at }),
    }))
}

/// By which key a terminal is known.
#[utoipa::path(get, path = "/v1/terminals/{name}/identity", tag = "operators",
    params(("name" = TerminalName, Path, description = "The terminal")),
    responses(
        (status = 200, description = "Its key", body = TerminalIdentity),
        (status = 401, description = "`unauthenticated`", body = wire::Problem),
        (status = 404, description = "`not-found`", body = wire::Problem),
    ), security(("bearer" = [])))]
pub async fn identity(app: Data<App>, name: Path<String>) -> Result<Json<TerminalIdentity>, ApiError> {
    shown(&connection(&app.pool).await?, &terminal(&name)?).await
}

/// Deny a terminal's identity.
///
/// Its open event streams end, its next request is refused, and it gets no new certificate.
#[utoipa::path(post, path = "/v1/terminals/{name}/deny", tag = "operators",
    params(("name" = TerminalName, Path, description = "The terminal")), request_body = DenyTerminal,
    responses(
        (status = 200, description = "It is denied", body = TerminalIdentity),
        (status = 401, description = "`unauthenticated`", body = wire::Problem),
        (status = 403, description = "`forbidden`", body = wire::Problem),
        (status = 404, description = "`not-found`", body = wire::Problem),
    ), security(("bearer" = [])))]
pub async fn deny(
    app: Data<App>,
    caller: Caller,
    name: Path<String>,
    body: Json<DenyTerminal>,
) -> Result<Json<TerminalIdentity>, ApiError> {
    let (name, client) = (terminal(&name)?, connection(&app.pool).await?);
    if !terminals::deny(&client, &name, app.clock.now()).await? {
        return Err(ApiError::not_found(format!("terminal {name}")));
    }
    app.streams.end(&name);
    let reason = presentable(body.reason.as_deref().unwrap_or_default());
    tracing::warn!(by = caller.name, terminal = %name, reason, "the identity of a terminal is denied");
    shown(&client, &name).await
}

/// Let a terminal's identity count again, or another key in its place.
///
/// With a key, that one counts from now on and the certificates of the one before end at once: for a terminal whose disk was
/// emptied or replaced. It asks again by itself.
#[utoipa::path(post, path = "/v1/terminals/{name}/allow", tag = "operators",
    params(("name" = TerminalName, Path, description = "The terminal")), request_body = AllowTerminal,
    responses(
        (status = 200, description = "It counts", body = TerminalIdentity),
        (status = 401, description = "`unauthenticated`", body = wire::Problem),
        (status = 403, description = "`forbidden`", body = wire::Problem),
        (status = 404, description = "`not-found`", body = wire::Problem),
        (status = 409, description = "`name-taken`: the key is another terminal's", body = wire::Problem),
    ), security(("bearer" = [])))]
pub async fn allow(
    app: Data<App>,
    caller: Caller,
    name: Path<String>,
    body: Json<AllowTerminal>,
) -> Result<Json<TerminalIdentity>, ApiError> {
    let (name, client) = (terminal(&name)?, connection(&app.pool).await?);
    if let Some(key) = &body.key
        && let Some(other) = terminals::by_key(&client, key).await?.filter(|other| other.name != name)
    {
        let detail = format!("The key {} is that of terminal {}.", key.short(), other.name);
        return Err(ApiError::new(Code::NameTaken, detail, "Name the key that the terminal says it has."));
    }
    if !terminals::allow(&client, &name, body.key.as_ref()).await? {
        return Err(ApiError::not_found(format!("terminal {name}")));
    }
    if body.key.is_some() {
        app.streams.end(&name);
    }
    let key = body.key.as_ref().map(Digest::to_string);
    tracing::warn!(by = caller.name, terminal = %name, key, "the identity of a terminal counts");
    shown(&client, &name).await
}
