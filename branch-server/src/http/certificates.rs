//! Authenticates terminals by their certificates.

use std::sync::Arc;

use async_trait::async_trait;
use service_kit::database::{Pool, connection};
use service_kit::server::{ApiError, Authenticator, Caller, PeerCertificates, Via};
use trust::certificates::Identity;
use wire::Code;

use crate::db::terminals;
use crate::terminals::identity::{is_denied, of_another_branch, other_key};
use crate::terminals::tls::Tls;
use crate::upstream::head_office::HeadOffice;

/// Authenticates terminals by the key that they enrolled with here, and by no other that their name ever had.
pub struct TerminalCertificates {
    /// Judges certificates.
    pub tls: Tls,
    /// Knows which branch this is.
    pub head_office: Arc<dyn HeadOffice>,
    /// PostgreSQL.
    pub pool: Pool,
}

#[async_trait]
impl Authenticator for TerminalCertificates {
    async fn authenticate(&self, _: &str) -> Result<Option<Caller>, ApiError> {
        Ok(None)
    }

    fn wants_certificate(&self) -> bool {
        true
    }

    async fn certificate(&self, presented: &PeerCertificates) -> Result<Option<Caller>, ApiError> {
        let checked = self
            .tls
            .check(presented)
            .map_err(|refusal| ApiError::new(Code::CertificateRefused, refusal.sentence(), refusal.remedy()))?;
        let (branch, name) = match checked.identity {
            Identity::Terminal(branch, name) => (branch, name),
            // The route table has nothing for branch servers; the refusal names their role.
            Identity::Branch(branch) => return Ok(Some(Caller::branch(branch).by(Via::Certificate))),
            Identity::HeadOffice => return Ok(None),
        };
        match self.head_office.branch() {
            Some(here) if here != branch => return Err(of_another_branch(&branch, &here)),
            Some(_) => {}
            None => return Ok(None),
        }
        let client = connection(&self.pool).await?;
        let Some(known) = terminals::identity(&client, &name).await? else { return Ok(None) };
        match known.key {
            Some(key) if key != checked.key => Err(other_key(&name, &key, &checked.key)),
            Some(_) if known.denied.is_some() => Err(is_denied(&name)),
            Some(_) => Ok(Some(Caller::terminal(branch, name).by(Via::Certificate))),
            None => Ok(None),
        }
    }
}
