//! Gets a certificate from the branch server and renews it: with the join token the first time, with the key alone
//! afterwards, and with the certificate of before at a branch server that does not know this terminal.

use service_kit::Secret;
use service_kit::client::ClientError;
use service_kit::edge::chain;
use trust::Refusal;
use trust::certificates::{
    Age, Anchor, Identity as Who, Peer, certificate_to_pem, fingerprint, request_key, request_to_pem,
};
use wire::Code;
use wire::v1::reports::{Position, UpdateReport};
use wire::v1::sync::{EnrolRequest, FormerCertificate};

use super::facts::facts;
use super::identity::IdentityFiles;
use super::join_token::{self, text_of};
use crate::config::agent::Settings;
use crate::memory::keeper::Keeper;
use crate::model::identity::Identity;
use crate::model::wanted::Recipient;
use crate::ports::Ports;
use crate::trust::believed::Believed;

/// This terminal's identity at its branch.
pub struct Enrolment {
    files: IdentityFiles,
    identity: Option<Identity>,
    /// The branch server no longer knows this terminal, as after the loss of its database.
    ///
    /// The terminal enrols again.
    lost: bool,
    /// The join token was looked at since this terminal enrolled, and deleted if that was possible.
    token_settled: bool,
}

impl Enrolment {
    /// Reads the identity that an earlier run kept.
    pub fn open(settings: &Settings) -> Self {
        let files = IdentityFiles::new(&settings.paths.state_dir);
        let identity = files.read(&settings.identity.name);
        Self { files, identity, lost: false, token_settled: false }
    }

    /// The recipient of plans; `None` before this terminal enrolled.
    pub fn recipient(&self) -> Option<Recipient> {
        self.identity.as_ref().map(Identity::recipient)
    }

    /// Whether this terminal has an identity.
    pub const fn is_enrolled(&self) -> bool {
        self.identity.is_some()
    }

    /// Has requests to the branch server made with this terminal's identity.
    ///
    /// Does nothing before it enrolled.
    pub fn authenticate(&self, ports: &Ports) {
        let Some(identity) = &self.identity else { return };
        let done = match self.files.key() {
            Ok(key) => ports.branch.authenticate(identity, &key).map_err(|e| chain(&e)),
            Err(refusal) => Err(text_of(&refusal)),
        };
        if let Err(why) = done {
            tracing::error!(why, "this terminal's identity cannot be used");
        }
    }

    /// Signs a report of an update.
    ///
    /// Head office does not count unsigned reports; they are sent all the same, so that the branch can show them.
    ///
    /// `position`: the number of its position, as [`Position`] says.
    pub fn sign(&self, update: &mut UpdateReport, position: u64) {
        let Some(identity) = &self.identity else { return };
        let failed = |r: &Refusal| tracing::error!(code = r.code(), reason = r.sentence(), "a report cannot be signed");
        let Ok(signer) = self.files.signer().inspect_err(failed) else { return };
        let terminal = &identity.name;
        update.proof = Some(signer.sign_text(&update.statement(&identity.branch, terminal)));
        let statement = update.position_statement(&identity.branch, terminal, position);
        update.position = Some(Position { number: position, proof: signer.sign_text(&statement) });
        let statement = update.evidence_statement(&identity.branch, terminal);
        if let (Some(evidence), Some(statement)) = (&mut update.evidence, statement) {
            evidence.proof = Some(signer.sign_text(&statement));
        }
    }

    /// Enrols if need be, and renews the certificate after two thirds of its lifetime.
    ///
    /// # Errors
    /// There is no valid certificate and none could be had; one sentence.
    pub async fn certify_if_due(
        &mut self,
        ports: &Ports,
        settings: &Settings,
        keeper: &mut Keeper,
        believed: &Believed,
    ) -> Result<(), String> {
        let Some(identity) = self.identity.clone() else {
            return self.enrol(ports, settings, keeper, believed).await;
        };
        if self.lost {
            // The certificate first: the join token may be gone or used up.
            let asked = Asked { certificate: true, ..Asked::by_key(&identity) };
            if let Err(why) = self.certify(asked, ports, settings, keeper, believed).await {
                // Deleted after its use: an admin gives another one if the certificate stays refused.
                if !settings.branch.join_token_file.exists() {
                    return Err(why);
                }
                tracing::info!(why, "the branch server does not take the certificate of before; trying the join token");
                self.enrol(ports, settings, keeper, believed).await?;
            }
            self.lost = false;
            return Ok(());
        }
        let age = identity.age(believed.times(ports.clock.now()));
        if age == Age::Young {
            return Ok(());
        }
        let asked = Asked::by_key(&identity);
        match (self.certify(asked, ports, settings, keeper, believed).await, age) {
            (Ok(()), _) => tracing::info!("the certificate is renewed"),
            // It is still valid; the next poll tries again.
            (Err(why), Age::Old) => tracing::warn!(why, "the certificate is not renewed yet"),
            (Err(why), _) => return Err(why),
        }
        Ok(())
    }

    /// Notes what an error says of this terminal's identity.
    ///
    /// True if this terminal has to enrol again and did not know.
    pub fn note_error(&mut self, error: &ClientError, settings: &Settings) -> bool {
        let is_lost = match error {
            // A server that is not trusted may belong to a fleet that was set up again: then the join token names its
            // authority.
            ClientError::Distrusted { .. } => self.has_token_of_another_fleet(settings),
            _ => matches!(error.code(), Some(Code::Unauthenticated | Code::JoinRefused)),
        };
        is_lost && !std::mem::replace(&mut self.lost, true)
    }

    fn has_token_of_another_fleet(&self, settings: &Settings) -> bool {
        let known = self.identity.as_ref().map(|identity| fingerprint(&identity.authority));
        join_token::read(settings).is_ok_and(|token| known.is_some_and(|known| known != token.authority))
    }

    /// Enrols with the join token.
    ///
    /// At any branch server that the token's authority certified the first time, at its own afterwards.
    async fn enrol(
        &mut self,
        ports: &Ports,
        settings: &Settings,
        keeper: &mut Keeper,
        believed: &Believed,
    ) -> Result<(), String> {
        let token = join_token::read(settings)?;
        let known = self.identity.as_ref().filter(|known| fingerprint(&known.authority) == token.authority);
        let peer = known.map_or(Peer::AnyBranch, |known| Who::Branch(known.branch.clone()).into());
        let asked = Asked {
            join_token: Some(&token.secret),
            certificate: false,
            anchor: Anchor::Pinned(token.authority),
            peer,
        };
        self.certify(asked, ports, settings, keeper, believed).await?;
        self.token_settled = false;
        tracing::info!(branch = self.identity.as_ref().map(|i| i.branch.as_str()), "enrolled");
        Ok(())
    }

    /// Deletes the join token, now that the branch server has answered to the certificate.
    ///
    /// Looks once after each enrolment and each start: what cannot be deleted is logged once.
    pub fn settle_token(&mut self, settings: &Settings) {
        let Some(identity) = &self.identity else { return };
        if !std::mem::replace(&mut self.token_settled, true) {
            join_token::delete_used(settings, &fingerprint(&identity.authority));
        }
    }

    /// Has this terminal's key certified, and keeps the answer before it is used.
    async fn certify(
        &mut self,
        Asked { join_token, certificate, anchor, peer }: Asked<'_>,
        ports: &Ports,
        settings: &Settings,
        keeper: &mut Keeper,
        believed: &Believed,
    ) -> Result<(), String> {
        // Small files, and this happens once in months: not worth a thread.
        let key = self.files.key().map_err(|r| text_of(&r))?;
        let csr = key.request().map_err(|r| text_of(&r))?;
        let facts = (join_token.is_some() || certificate).then(|| facts(ports, settings)).transpose()?;
        let former = self.identity.as_ref().filter(|_| certificate).and_then(former);
        let request = EnrolRequest {
            join_token: join_token.map(|token| token.expose().to_owned()),
            certificate_request: request_to_pem(&csr),
            terminal: facts.clone(),
            certificate: former,
        };
        let pinned = anchor.fingerprint();
        let answer = ports.branch.enrol(anchor, peer.clone(), &request).await.map_err(|error| {
            if join_token.is_none() {
                self.note_error(&error, settings);
            }
            if error.code() == Some(Code::OtherKey) {
                // For the operator who has to admit it.
                let own = request_key(&csr).map(|key| key.to_string()).unwrap_or_default();
                tracing::warn!(key = own, "the branch knows this terminal by another key");
            }
            chain(&error)
        })?;
        if let Peer::Exactly(Who::Branch(own)) = &peer
            && *own != answer.branch
        {
            return Err(format!("The server of branch {own} answered for branch {}.", answer.branch));
        }
        let (name, times) = (&settings.identity.name, believed.times(ports.clock.now()));
        let identity = self.files.keep(answer, name, &pinned, times).map_err(|r| text_of(&r))?;
        ports.branch.authenticate(&identity, &key).map_err(|e| chain(&e))?;
        self.identity = Some(identity);
        match facts {
            Some(facts) => {
                keeper.change(ports.clock.now(), |journal| journal.facts = Some(facts)).map_err(|e| chain(&e))
            }
            None => Ok(()),
        }
    }
}

/// How the branch server is asked for a certificate.
struct Asked<'a> {
    join_token: Option<&'a Secret>,
    /// Whether the certificate of before is shown.
    certificate: bool,
    anchor: Anchor,
    peer: Peer,
}

impl Asked<'_> {
    /// By the key of a known identity, at its own branch server.
    fn by_key(identity: &Identity) -> Self {
        Self {
            join_token: None,
            certificate: false,
            anchor: Anchor::Known(identity.authority.clone()),
            peer: Who::Branch(identity.branch.clone()).into(),
        }
    }
}

/// The certificate of an identity, as a branch server that does not know it is shown it.
fn former(identity: &Identity) -> Option<FormerCertificate> {
    let [certificate, intermediate, ..] = &identity.chain[..] else { return None };
    let (certificate, intermediate) = (certificate_to_pem(certificate), certificate_to_pem(intermediate));
    Some(FormerCertificate { certificate, intermediate })
}
