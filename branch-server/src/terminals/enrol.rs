//! Certifies terminals: with the branch's join token, and later by their key alone.

use std::sync::Arc;

use fleet_types::{Digest, TerminalName};
use rustls_pki_types::CertificateDer;
use service_kit::Clock;
use service_kit::database::{GenericClient, Pool, begin, commit, connection};
use service_kit::server::ApiError;
use trust::Refusal;
use trust::certificates::{certificate_to_pem, request_from_pem, request_key, request_signer};
use wire::Code;
use wire::v1::reports::Report;
use wire::v1::shape;
use wire::v1::sync::{EnrolRequest, EnrolResponse};

use super::identity::{is_denied, other_key};
use super::join::Join;
use super::tls::Tls;
use crate::db::{site, terminals};
use crate::reports::relay;
use crate::signals::Signals;
use crate::upstream::identity::Identity;

/// What the enrolment of terminals uses.
pub struct Enrolment {
    /// PostgreSQL.
    pub pool: Pool,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// The token that terminals enrol with.
    pub join: Arc<Join>,
    /// The time by which certificates are judged.
    pub tls: Tls,
    /// Wake-up calls.
    pub signals: Arc<Signals>,
    /// Most terminals of this branch.
    pub max: u64,
}

impl Enrolment {
    /// Certifies the key of `request` by this server's `identity`.
    ///
    /// # Errors
    /// The token, the key or the facts are refused, each with its code.
    pub async fn enrol(&self, identity: &Identity, request: EnrolRequest) -> Result<EnrolResponse, ApiError> {
        let (now, times) = (self.clock.now(), self.tls.times());
        if let Some(secret) = &request.join_token {
            self.join.check(secret, now)?;
        }
        let csr = request_from_pem(&request.certificate_request).map_err(unusable)?;
        let key = request_key(&csr).map_err(unusable)?;
        let facts = match (&request.join_token, request.terminal) {
            (Some(_), Some(facts)) => Some(facts),
            (Some(_), None) => return Err(ApiError::bad_field("terminal", "is missing")),
            // By its key alone it gets a certificate and changes nothing.
            (None, _) => None,
        };
        let mut client = connection(&self.pool).await?;
        let tx = begin(&mut client).await?;
        // Locked, so that terminals enrol one after the other and the bound holds.
        if site::lock(&tx).await?.branch.as_ref() != Some(&identity.branch) {
            return Err(not_enrolled());
        }
        let known = match &facts {
            Some(facts) => {
                shape::check_facts(facts)?;
                by_name(&tx, self.max, &facts.name, &key).await?
            }
            None => Some(by_key(&tx, &key).await?),
        };
        if let Some(known) = known.as_ref().filter(|known| known.denied.is_some()) {
            return Err(is_denied(&known.name));
        }
        if let Some((known, other)) = known.as_ref().and_then(|k| Some((k, k.key.filter(|other| *other != key)?))) {
            terminals::asked(&tx, &known.name, &key, now).await?;
            commit(tx).await?;
            tracing::warn!(terminal = %known.name, %key, "another key asks for its name with the join token");
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
        commit(tx).await?;
        self.signals.relay.notify_one();
        tracing::info!(terminal = %name, key = %key.short(), again = known.is_some(), "terminal certified");
        Ok(EnrolResponse {
            branch: identity.branch.clone(),
            certificate: certificate_to_pem(&issued),
            intermediate: certificate_to_pem(identity.intermediate()),
            authority: certificate_to_pem(&identity.authority),
        })
    }
}

fn unusable(refusal: Refusal) -> ApiError {
    ApiError::new(Code::CertificateRequest, refusal.sentence(), refusal.remedy())
}

/// Returns the refusal of requests that need this server's own identity.
pub fn not_enrolled() -> ApiError {
    let detail = "This branch server has not enrolled at head office yet, so it cannot certify terminals.";
    ApiError::new(Code::NotReady, detail, "Try again after it has enrolled.")
}

/// The terminal of this name, if there is one; whether it may come by this key is not judged here.
async fn by_name<C: GenericClient>(
    client: &C,
    max: u64,
    name: &TerminalName,
    key: &Digest,
) -> Result<Option<terminals::Identity>, ApiError> {
    if let Some(other) = terminals::by_key(client, key).await?.filter(|other| other.name != *name) {
        let detail = format!("The key of this request belongs to terminal {}.", other.name);
        let remedy =
            "Each terminal needs its own key: remove the identity files of this terminal, and it makes a new one.";
        return Err(ApiError::new(Code::CertificateRequest, detail, remedy));
    }
    let known = terminals::identity(client, name).await?;
    if known.is_none() && terminals::count(client).await? >= max {
        let detail = format!("This branch has {max} terminals, the configured maximum.");
        let remedy = "Raise `terminals.max` in the branch server's configuration.";
        return Err(ApiError::new(Code::TooManyTerminals, detail, remedy));
    }
    Ok(known)
}

/// The terminal that has this key.
async fn by_key<C: GenericClient>(client: &C, key: &Digest) -> Result<terminals::Identity, ApiError> {
    terminals::by_key(client, key).await?.ok_or_else(|| {
        let detail = "No terminal of this branch is registered with this key.";
        ApiError::new(Code::JoinRefused, detail, "Enrol with the branch's join token.")
    })
}
