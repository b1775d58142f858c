//! A terminal asks for its certificate: with the branch's join token, and later by its key alone.

use actix_web::web::{Data, Json};
use fleet_types::{Digest, TerminalName};
use rustls_pki_types::CertificateDer;
use service_kit::database::{GenericClient, connection};
use service_kit::server::ApiError;
use trust::Refusal;
use trust::certificates::{certificate_to_pem, request_from_pem, request_key, request_signer};
use wire::Code;
use wire::v1::reports::Report;
use wire::v1::sync::{EnrolRequest, EnrolResponse};

use super::authentication::{is_denied, other_key};
use crate::app::App;
use crate::db::{self, site, terminals};
use crate::{intake, relay};

/// Certify a terminal's key.
///
/// With the branch's join token for a name that nobody has, or that has this key: asked again, it answers the same, so that an
/// answer may be lost. A name that is known by another key stays with that one until an admin lets the new one in. Without a
/// token a key that enrolled gets a new certificate when the one it has ages, also after that expired.
#[utoipa::path(post, path = "/v1/enrol", tag = "machines", request_body = EnrolRequest, responses(
    (status = 200, description = "The certificate", body = EnrolResponse),
    (status = 403, description = "`join-refused`, `join-expired`: the join token, or the key instead of one; `other-key`: the \
        name is known by another; `identity-denied`", body = wire::Problem),
    (status = 422, description = "`bad-field`: facts are missing or out of range; `certificate-request`", body = wire::Problem),
    (status = 429, description = "`too-many-terminals`, as its settings allow; `too-many`: too many refused tries", body = wire::Problem),
    (status = 503, description = "`not-ready`: this branch server has not enrolled itself", body = wire::Problem),
))]
pub async fn enrol(app: Data<App>, body: Json<EnrolRequest>) -> Result<Json<EnrolResponse>, ApiError> {
    let request = body.into_inner();
    let identity = app.head_office.identity().ok_or_else(not_enrolled)?;
    let (now, times) = (app.clock.now(), app.tls.times());
    if let Some(secret) = &request.join_token {
        app.join.check(secret, now)?;
    }
    let csr = request_from_pem(&request.certificate_request).map_err(unusable)?;
    let key = request_key(&csr).map_err(unusable)?;
    let facts = match (&request.join_token, request.terminal) {
        (Some(_), Some(facts)) => Some(facts),
        (Some(_), None) => return Err(ApiError::bad_field("terminal", "is missing")),
        // By its key alone it gets a certificate and changes nothing.
        (None, _) => None,
    };
    let mut client = connection(&app.pool).await?;
    let tx = db::begin(&mut client).await?;
    // Locked, so that terminals enrol one after the other and the bound holds.
    if site::lock(&tx).await?.branch.as_ref() != Some(&identity.branch) {
        return Err(not_enrolled());
    }
    let known = match &facts {
        Some(facts) => {
            intake::check_facts(facts)?;
            by_name(&tx, &app, &facts.name, &key).await?
        }
        None => Some(by_key(&tx, &key).await?),
    };
    if let Some(known) = known.as_ref().filter(|known| known.denied.is_some()) {
        return Err(is_denied(&known.name));
    }
    if let Some((known, other)) = known.as_ref().and_then(|k| Some((k, k.key.filter(|other| *other != key)?))) {
        terminals::asked(&tx, &known.name, &key, now).await?;
        db::commit(tx).await?;
        tracing::warn!(terminal = %known.name, %key, "somebody with the join token and another key asks in its name");
        return Err(other_key(&known.name, &other, &key));
    }
    let name = facts.as_ref().map(|facts| &facts.name).or(known.as_ref().map(|known| &known.name));
    let name = name.cloned().ok_or_else(not_enrolled)?;
    let kept = known.as_ref().and_then(|known| Some(CertificateDer::from(known.certificate.clone()?)));
    let issued = match kept.filter(|kept| identity.issued(kept, times)) {
        Some(kept) => kept,
        None => identity.issue_terminal(&csr, &name, times).map_err(unusable)?,
    };
    if let Some(facts) = facts {
        terminals::enrol(&tx, &facts, &key, now).await?;
        let signer = request_signer(&csr).map_err(unusable)?.map(|key| key.to_string());
        relay::queue(&tx, now, &Report::TerminalSeen { facts, key: signer }).await?;
    }
    terminals::certified(&tx, &name, &issued).await?;
    db::commit(tx).await?;
    app.signals.relay.notify_one();
    tracing::info!(terminal = %name, key = %key.short(), again = known.is_some(), "terminal certified");
    Ok(Json(EnrolResponse {
        branch: identity.branch.clone(),
        certificate: certificate_to_pem(&issued),
        intermediate: certificate_to_pem(identity.intermediate()),
        authority: certificate_to_pem(&identity.authority),
    }))
}

fn unusable(refusal: Refusal) -> ApiError {
    ApiError::new(Code::CertificateRequest, refusal.sentence(), refusal.remedy())
}

fn not_enrolled() -> ApiError {
    let detail = "This branch server has not enrolled at head office, so it certifies nobody yet.";
    ApiError::new(Code::NotReady, detail, "Try again once it has.")
}

/// The terminal of this name, if there is one; whether it may come by this key is not judged here.
async fn by_name<C: GenericClient>(
    client: &C,
    app: &App,
    name: &TerminalName,
    key: &Digest,
) -> Result<Option<terminals::Identity>, ApiError> {
    if let Some(other) = terminals::by_key(client, key).await?.filter(|other| other.name != *name) {
        let detail = format!("The key of this request is that of terminal {}.", other.name);
        let remedy = "Each terminal has a key of its own: remove this one's identity files, so that it makes one.";
        return Err(ApiError::new(Code::CertificateRequest, detail, remedy));
    }
    let known = terminals::identity(client, name).await?;
    if known.is_none() && terminals::count(client).await? >= app.settings.terminals.max {
        let detail = format!("This branch has {} terminals, as many as it may.", app.settings.terminals.max);
        let remedy = "Raise terminals.max in the branch server's configuration.";
        return Err(ApiError::new(Code::TooManyTerminals, detail, remedy));
    }
    Ok(known)
}

/// The terminal that has this key.
async fn by_key<C: GenericClient>(client: &C, key: &Digest) -> Result<terminals::Identity, ApiError> {
    terminals::by_key(client, key).await?.ok_or_else(|| {
        let detail = "No terminal of this branch enrolled with this key.";
        ApiError::new(Code::JoinRefused, detail, "Enrol with the branch's join token.")
    })
}
