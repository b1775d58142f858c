//! The keys with which terminals are registered, and what an admin does about a stolen or replaced one.

use access::audit::Change;
use actix_web::web::{Data, Json, Path};
use chrono::{DateTime, Utc};
use fleet_types::{Digest, TerminalName};
use rustls_pki_types::CertificateDer;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use service_kit::database::{GenericClient, Transaction, begin, commit, connection};
use service_kit::edge::chain;
use service_kit::server::{ApiError, Caller, Missing};
use trust::certificates::{certificate_signer, validity};
use wire::Code;
use wire::v1::paths;
use wire::v1::reports::Report;

use crate::app::App;
use crate::db::terminals::{self, Identity};
use crate::db::{moves, site, updates};
use crate::reports::relay;

/// The key with which a terminal is registered.
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

/// A key that waits for an admin's decision.
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
    /// For the audit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Whether the branch's join token stays, which the terminal may have on its disk.
    #[serde(default)]
    pub keep_join_token: bool,
}

/// A terminal that was denied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct TerminalDenied {
    /// The key with which it is registered.
    #[serde(flatten)]
    pub identity: TerminalIdentity,
    /// Whether the branch's join token was replaced: machines that enrol from now on need the new one.
    pub join_token_replaced: bool,
}

/// Lifts the denial of a terminal's identity.
#[derive(Debug, Clone, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AllowTerminal {
    /// SHA-256 of the key to register; if absent, the registered key stays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<Digest>,
    /// Why; for the audit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

fn terminal(text: &str) -> Result<TerminalName, ApiError> {
    text.parse().map_err(|e| ApiError::bad_field("name", e))
}

/// The terminal's identity, held until the transaction ends.
async fn held<C: GenericClient>(tx: &C, name: &TerminalName) -> Result<Identity, ApiError> {
    terminals::lock(tx, name).await?;
    let found = terminals::identity(tx, name).await?;
    found.ok_or_else(|| ApiError::not_found(Missing::Terminal, name))
}

/// What the audit says of an identity.
fn state(identity: &Identity) -> Value {
    json!({ "key": identity.key, "denied": identity.denied, "asked": identity.asked.map(|(key, _)| key) })
}

async fn shown<C: GenericClient>(client: &C, name: &TerminalName) -> Result<Json<TerminalIdentity>, ApiError> {
    let found = terminals::identity(client, name).await?;
    let found = found.ok_or_else(|| ApiError::not_found(Missing::Terminal, &name))?;
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

/// The key with which a terminal is registered.
#[utoipa::path(get, path = paths::TERMINAL_IDENTITY, tag = "operators",
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
/// Its open event streams end, its next request is refused, and it gets no new certificate. The branch's join token is replaced, as the
/// terminal may have it on its disk and could enrol under a new name; terminals that are registered need none.
#[utoipa::path(post, path = paths::TERMINAL_DENY, tag = "operators",
    params(("name" = TerminalName, Path, description = "The terminal")), request_body = DenyTerminal,
    responses(
        (status = 200, description = "It is denied", body = TerminalDenied),
        (status = 401, description = "`unauthenticated`", body = wire::Problem),
        (status = 403, description = "`forbidden`", body = wire::Problem),
        (status = 404, description = "`not-found`", body = wire::Problem),
    ), security(("bearer" = [])))]
pub async fn deny(
    app: Data<App>,
    caller: Caller,
    name: Path<String>,
    body: Json<DenyTerminal>,
) -> Result<Json<TerminalDenied>, ApiError> {
    let (name, now) = (terminal(&name)?, app.clock.now());
    let mut client = connection(&app.pool).await?;
    let tx = begin(&mut client).await?;
    // This server's row before the terminal's, as everywhere.
    site::lock(&tx).await?;
    let before = held(&tx, &name).await?;
    terminals::deny(&tx, &name, now).await?;
    relay::queue(&tx, now, &Report::TerminalDenied { terminal: name.clone(), denied: true }).await?;
    // Denied again: nothing changes, and no row says so.
    if before.denied.is_none() {
        let after = state(&held(&tx, &name).await?);
        let change = Change::of(format!("terminal {name}")).because(body.reason.as_deref());
        let change = change.before(state(&before)).after(after);
        app.audit.commit(tx, &caller, change).await?;
    } else {
        commit(tx).await?;
    }
    app.signals.relay.notify_one();
    app.streams.end(&name);
    tracing::warn!(by = caller.name, terminal = %name, "terminal identity denied");
    let join_token_replaced = !body.keep_join_token && replace_join_token(&app, &caller, &name).await?;
    let Json(identity) = shown(&connection(&app.pool).await?, &name).await?;
    Ok(Json(TerminalDenied { identity, join_token_replaced }))
}

/// Replaces the join token, with a row of the audit that says so once the new one is in its file.
async fn replace_join_token(app: &App, caller: &Caller, denied: &TerminalName) -> Result<bool, ApiError> {
    let change = Change::of("join token of terminals").because(Some(&format!("terminal {denied} is denied")));
    let change = change.after(json!({ "replaced": true }));
    let finish = async |tx: Transaction<'_>| app.audit.commit(tx, caller, change).await;
    app.join.replace(&app.pool, app.clock.now(), finish).await.map_err(|error| {
        tracing::error!(error = %chain(&error), "the join token cannot be replaced");
        let detail = format!("Terminal {denied} is denied, but the join token that it may have cannot be replaced.");
        let remedy = "See the branch server's log, and deny the terminal again: that replaces the token.";
        ApiError::new(Code::Internal, detail, remedy)
    })
}

/// Lift the denial of a terminal's identity, or register another key.
///
/// With a key, that key is registered and certificates of the previous one are refused at once: for a terminal whose disk
/// was erased or replaced. What the previous key had installed counts no more. The terminal retries by itself.
#[utoipa::path(post, path = paths::TERMINAL_ALLOW, tag = "operators",
    params(("name" = TerminalName, Path, description = "The terminal")), request_body = AllowTerminal,
    responses(
        (status = 200, description = "It is allowed", body = TerminalIdentity),
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
    let (name, now) = (terminal(&name)?, app.clock.now());
    let mut client = connection(&app.pool).await?;
    let tx = begin(&mut client).await?;
    site::lock(&tx).await?;
    let before = held(&tx, &name).await?;
    if let Some(key) = &body.key
        && let Some(other) = terminals::by_key(&tx, key).await?.filter(|other| other.name != name)
    {
        let detail = format!("Key {} belongs to terminal {}.", key.short(), other.name);
        return Err(ApiError::new(Code::NameTaken, detail, "Send the key that the terminal's log shows."));
    }
    app.denied.allow(&name);
    terminals::allow(&tx, &name, body.key.as_ref()).await?;
    if body.key.is_some_and(|key| before.key != Some(key)) {
        // Another disk: what was installed on the old one says nothing about it.
        updates::forget(&tx, &name).await?;
        moves::clear(&tx, &name).await?;
    }
    // With its facts, in case head office has forgotten it.
    if let Some(record) = terminals::read(&tx, &name).await? {
        let certificate = terminals::identity(&tx, &name).await?.and_then(|known| known.certificate);
        let key = certificate.and_then(|der| certificate_signer(&CertificateDer::from(der)).ok().flatten());
        let key = key.map(|key| key.to_string());
        relay::queue(&tx, now, &Report::TerminalSeen { facts: record.facts, key }).await?;
    }
    relay::queue(&tx, now, &Report::TerminalDenied { terminal: name.clone(), denied: false }).await?;
    let (before, after) = (state(&before), state(&held(&tx, &name).await?));
    // Allowed already, with this key: no row without a change.
    if before != after {
        let change = Change::of(format!("terminal {name}")).because(body.reason.as_deref());
        app.audit.commit(tx, &caller, change.before(before).after(after)).await?;
    } else {
        commit(tx).await?;
    }
    app.signals.relay.notify_one();
    if body.key.is_some() {
        app.streams.end(&name);
    }
    let key = body.key.as_ref().map(Digest::to_string);
    tracing::warn!(by = caller.name, terminal = %name, key, "terminal identity allowed");
    shown(&connection(&app.pool).await?, &name).await
}
