//! Getting a certificate from the branch server, and keeping it young: with the join token the first time, by the key alone from
//! then on.

use service_kit::Secret;
use service_kit::client::ClientError;
use service_kit::config::read_secret_file;
use service_kit::edge::chain;
use trust::Refusal;
use trust::certificates::{Age, Anchor, Identity as Who, JoinToken, Peer, fingerprint, request_key, request_to_pem};
use wire::Code;
use wire::v1::sync::EnrolRequest;

use crate::agent::Agent;
use crate::ports::Ports;
use crate::talk::Talk;

/// A refusal as one text.
fn said(refusal: &Refusal) -> String {
    format!("{}: {} {}", refusal.code(), refusal.sentence(), refusal.remedy())
}

impl Talk {
    /// Has the branch server talked to as the terminal that this is. Nothing before it enrolled.
    pub(crate) fn authenticate(&self, ports: &Ports) {
        let Some(identity) = &self.identity else { return };
        let done = match self.files.key() {
            Ok(key) => ports.branch.authenticate(identity, &key).map_err(|e| chain(&e)),
            Err(refusal) => Err(said(&refusal)),
        };
        if let Err(why) = done {
            tracing::error!(why, "this terminal's identity cannot be used");
        }
    }
}

impl Agent {
    /// Enrols if need be, and has the certificate renewed once two thirds of its life are over.
    pub(crate) async fn certify_if_due(&mut self) -> Result<(), String> {
        let Some(identity) = self.talk.identity.clone() else { return self.enrol().await };
        if self.talk.lost {
            self.enrol().await?;
            self.talk.lost = false;
            return Ok(());
        }
        let age = identity.age(self.metadata.believed.times(self.ports.clock.now()));
        if age == Age::Young {
            return Ok(());
        }
        let (anchor, peer) = (Anchor::Known(identity.authority.clone()), Who::Branch(identity.branch.clone()).into());
        match (self.certify(None, anchor, peer).await, age) {
            (Ok(()), _) => tracing::info!("the certificate is renewed"),
            // It still does what it is for; the next poll tries again.
            (Err(why), Age::Old) => tracing::warn!(why, "the certificate ages and is not renewed yet"),
            (Err(why), _) => return Err(why),
        }
        Ok(())
    }

    /// What a refusal says of this terminal's identity: whether it is to enrol again.
    pub(crate) fn note_lost(&mut self, error: &ClientError) {
        let is_lost = match error {
            // One who is not believed may be of a fleet that was made anew: the join token says by which authority it is known then.
            ClientError::Distrusted { .. } => self.has_token_of_another_fleet(),
            _ => matches!(error.code(), Some(Code::Unauthenticated | Code::JoinRefused)),
        };
        if is_lost && !std::mem::replace(&mut self.talk.lost, true) {
            self.talk.sync_soon(self.ports.clock.uptime());
        }
    }

    fn has_token_of_another_fleet(&self) -> bool {
        let known = self.talk.identity.as_ref().map(|identity| fingerprint(&identity.authority));
        self.join_token().is_ok_and(|token| known.is_some_and(|known| known != token.authority))
    }

    fn join_token(&self) -> Result<JoinToken, String> {
        let text = read_secret_file(&self.settings.branch.join_token_file).map_err(|e| chain(&e))?;
        JoinToken::parse(&text).map_err(|refusal| said(&refusal))
    }

    /// By the join token: from whichever branch server the token's authority proves, the first time; then from its own only.
    async fn enrol(&mut self) -> Result<(), String> {
        let token = self.join_token()?;
        let known = self.talk.identity.as_ref().filter(|known| fingerprint(&known.authority) == token.authority);
        let peer = known.map_or(Peer::AnyBranch, |known| Who::Branch(known.branch.clone()).into());
        self.certify(Some(&token.secret), Anchor::Pinned(token.authority), peer).await?;
        tracing::info!(branch = self.talk.identity.as_ref().map(|i| i.branch.as_str()), "enrolled");
        Ok(())
    }

    /// Has this terminal's key certified, and keeps the answer before anything uses it.
    async fn certify(&mut self, join_token: Option<&Secret>, anchor: Anchor, peer: Peer) -> Result<(), String> {
        // Small files, and this happens once in months: not worth a thread.
        let key = self.talk.files.key().map_err(|r| said(&r))?;
        let csr = key.request().map_err(|r| said(&r))?;
        let facts = join_token.map(|_| self.facts()).transpose()?;
        let request = EnrolRequest {
            join_token: join_token.map(|token| token.expose().to_owned()),
            certificate_request: request_to_pem(&csr),
            terminal: facts.clone(),
        };
        let pinned = anchor.fingerprint();
        let answer = self.ports.branch.enrol(anchor, peer.clone(), &request).await.map_err(|error| {
            if join_token.is_none() {
                self.note_lost(&error);
            }
            if error.code() == Some(Code::OtherKey) {
                // For whoever is to let it in.
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
        let (name, times) = (&self.settings.identity.name, self.metadata.believed.times(self.ports.clock.now()));
        let identity = self.talk.files.keep(answer, name, &pinned, times).map_err(|r| said(&r))?;
        self.ports.branch.authenticate(&identity, &key).map_err(|e| chain(&e))?;
        self.talk.identity = Some(identity);
        match facts {
            Some(facts) => {
                let now = self.ports.clock.now();
                self.keeper.change(now, |journal| journal.facts = Some(facts)).map_err(|e| chain(&e))
            }
            None => Ok(()),
        }
    }
}
