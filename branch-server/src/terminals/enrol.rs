//! Certifies terminals: with the branch's join token, and later by their key alone; one that this server does not know comes back by a
//! certificate of this branch.

use std::sync::Arc;

use chrono::TimeDelta;
use fleet_types::{Digest, TerminalName};
use rustls_pki_types::CertificateDer;
use service_kit::Clock;
use service_kit::clock::instant;
use service_kit::database::{GenericClient, Pool, begin, commit, connection};
use service_kit::server::{ApiError, PeerCertificates};
use trust::Refusal;
use trust::certificates::{Identity as Who, certificate_to_pem, request_from_pem, request_key, request_signer};
use wire::Code;
use wire::v1::reports::Report;
use wire::v1::shape;
use wire::v1::sync::{EnrolRequest, EnrolResponse, FormerCertificate, TerminalFacts};

use super::denied::Denied;
use super::identity::{is_denied, is_listed, is_replaced, of_another_branch, other_key};
use super::join::Join;
use super::tls::Tls;
use crate::db::{site, terminals};
use crate::reports::proofs::{ENROLMENT, Pace};
use crate::reports::relay;
use crate::signals::Signals;
use crate::upstream::identity::Identity;

/// After so long it is written again that the same key asks.
const ASKED_AGAIN: TimeDelta = TimeDelta::minutes(1);

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
    /// What head office says must not be let in.
    pub denied: Arc<Denied>,
    /// Bounds what one terminal may send.
    pub pace: Arc<Pace>,
    /// Most terminals of this branch.
    pub max: u64,
}

impl Enrolment {
    /// Returns the name by which connections of a certificate are counted; none for a stranger.
    ///
    /// Denied terminals are those of head office's list: a handshake asks no database.
    pub fn holder(&self, presented: &PeerCertificates) -> Option<String> {
        let terminal = self.tls.holder(presented).filter(|terminal| !self.denied.names(terminal))?;
        Some(format!("terminal {terminal}"))
    }

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
        let signer = request_signer(&csr).map_err(unusable)?;
        let former = request.certificate.as_ref().filter(|_| request.join_token.is_none());
        let facts = match (request.join_token.is_some() || former.is_some(), request.terminal) {
            (true, Some(facts)) => Some(facts),
            (true, None) => return Err(ApiError::bad_field("terminal", "is missing")),
            // By its key alone it gets a certificate and changes nothing.
            (false, _) => None,
        };
        if let (Some(former), Some(facts)) = (former, &facts) {
            self.check_former(identity, former, facts, &key)?;
        }
        let mut client = connection(&self.pool).await?;
        if let Some(kept) = self.unlocked(&client, identity, &key, facts.as_ref()).await? {
            return Ok(answer(identity, &kept));
        }
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
            if !known.asked.is_some_and(|(asked, at)| asked == key && now - at < ASKED_AGAIN) {
                terminals::asked(&tx, &known.name, &key, now).await?;
                commit(tx).await?;
            }
            tracing::warn!(terminal = %known.name, %key, "another key asks for its name with the join token");
            return Err(other_key(&known.name, &other, &key));
        }
        if let (None, Some(facts)) = (&known, &facts) {
            if self.denied.names(&facts.name) {
                return Err(is_listed(&identity.branch, &facts.name));
            }
            if signer.as_ref().is_some_and(|key| self.denied.has_key(key)) {
                return Err(is_replaced(&identity.branch, &facts.name));
            }
            if let Some(secret) = &request.join_token {
                self.join.count(&tx, secret, now).await?;
            }
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
            let key = signer.map(|key| key.to_string());
            relay::queue(&tx, now, &Report::TerminalSeen { facts, key }).await?;
        }
        terminals::certified(&tx, &name, &issued).await?;
        commit(tx).await?;
        self.signals.relay.notify_one();
        tracing::info!(terminal = %name, key = %key.short(), again = known.is_some(), "terminal certified");
        Ok(answer(identity, &issued))
    }

    /// Lets a terminal in that a server of this branch certified before, by the certificate and the same key.
    fn check_former(
        &self,
        identity: &Identity,
        former: &FormerCertificate,
        facts: &TerminalFacts,
        key: &Digest,
    ) -> Result<(), ApiError> {
        let denied = self.denied.known()?;
        let checked = identity
            .check_former(former, self.tls.time(), &denied.issuers)
            .map_err(|refusal| ApiError::new(Code::CertificateRefused, refusal.sentence(), refusal.remedy()))?;
        match checked.identity {
            Who::Terminal(branch, _) if branch != identity.branch => Err(of_another_branch(&branch, &identity.branch)),
            Who::Terminal(_, name) if name == facts.name && checked.key == *key => Ok(()),
            _ => {
                let detail = format!(
                    "The certificate belongs to another terminal than {}, or to another key than this request.",
                    facts.name
                );
                Err(ApiError::new(Code::CertificateRefused, detail, "Enrol with the branch's join token."))
            }
        }
    }

    /// Judges what needs no lock: returns the certificate that a terminal has already, if nothing changed since.
    ///
    /// Nothing is written, and strangers come no further: all terminals of the branch need the row that is locked next.
    async fn unlocked<C: GenericClient>(
        &self,
        client: &C,
        identity: &Identity,
        key: &Digest,
        facts: Option<&TerminalFacts>,
    ) -> Result<Option<CertificateDer<'static>>, ApiError> {
        let known = match facts {
            Some(_) => terminals::by_key(client, key).await?,
            None => Some(by_key(client, key).await?),
        };
        let Some(known) = known else { return Ok(None) };
        if known.denied.is_some() {
            return Err(is_denied(&known.name));
        }
        if let Some(facts) = facts
            && terminals::read(client, &known.name).await?.is_none_or(|record| record.facts != *facts)
        {
            // It becomes a report, and counts as many.
            self.pace.admit(&known.name, ENROLMENT, instant())?;
            return Ok(None);
        }
        let kept = known.certificate.map(CertificateDer::from);
        Ok(kept.filter(|kept| identity.issued(kept, self.tls.times())))
    }
}

fn answer(identity: &Identity, certificate: &CertificateDer<'_>) -> EnrolResponse {
    EnrolResponse {
        branch: identity.branch.clone(),
        certificate: certificate_to_pem(certificate),
        intermediate: certificate_to_pem(identity.intermediate()),
        authority: certificate_to_pem(&identity.authority),
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
