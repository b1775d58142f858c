//! Terminals by their certificates.

use std::sync::Arc;

use async_trait::async_trait;
use fleet_types::{BranchName, Digest, TerminalName};
use service_kit::database::connection;
use service_kit::server::{ApiError, Authenticator, Caller, PeerCertificates, Via};
use trust::certificates::Identity;
use wire::Code;

use crate::app::App;
use crate::db::terminals;

/// The terminal is known by another key.
pub(super) fn other_key(terminal: &TerminalName, known: &Digest, given: &Digest) -> ApiError {
    let detail = format!("Terminal {terminal} is known here by the key {}, not by {}.", known.short(), given.short());
    let remedy = format!(
        "If its disk was emptied or replaced, an admin lets the new key in at the branch server: POST \
         /v1/terminals/{terminal}/allow with {{\"key\":\"{given}\"}}. If not, somebody has the join token: replace that, and \
         find out who."
    );
    ApiError::new(Code::OtherKey, detail, remedy)
}

/// The terminal's identity is denied.
pub(super) fn is_denied(terminal: &TerminalName) -> ApiError {
    let detail = format!("The identity of terminal {terminal} is denied.");
    let remedy = format!(
        "Ask an admin of the branch server (POST /v1/terminals/{terminal}/allow). If the terminal's key was stolen: remove its \
         identity files, so that it makes a new one, and have that let in."
    );
    ApiError::new(Code::IdentityDenied, detail, remedy)
}

fn of_another_branch(branch: &BranchName, here: &BranchName) -> ApiError {
    let detail = format!("This certificate is for branch {branch}; this is branch {here}.");
    let remedy = "Connect to the terminal's own branch; one that moved enrols here: remove its identity file, and give it this \
        branch's join token.";
    ApiError::new(Code::WrongBranch, detail, remedy)
}

/// Knows terminals by the key that they enrolled with here, and by no other that their name ever had.
pub struct TerminalCertificates(Arc<App>);

impl TerminalCertificates {
    /// Out of this application's database.
    pub fn new(app: Arc<App>) -> Self {
        Self(app)
    }
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
            .0
            .tls
            .check(presented)
            .map_err(|refusal| ApiError::new(Code::CertificateRefused, refusal.sentence(), refusal.remedy()))?;
        let (branch, name) = match checked.identity {
            Identity::Terminal(branch, name) => (branch, name),
            // The route table has nothing for them: they are told which role they have.
            Identity::Branch(branch) => return Ok(Some(Caller::branch(branch).by(Via::Certificate))),
            Identity::HeadOffice => return Ok(None),
        };
        match self.0.head_office.branch() {
            Some(here) if here != branch => return Err(of_another_branch(&branch, &here)),
            Some(_) => {}
            None => return Ok(None),
        }
        let client = connection(&self.0.pool).await?;
        let Some(known) = terminals::identity(&client, &name).await? else { return Ok(None) };
        match known.key {
            Some(key) if key != checked.key => Err(other_key(&name, &key, &checked.key)),
            Some(_) if known.denied.is_some() => Err(is_denied(&name)),
            Some(_) => Ok(Some(Caller::terminal(branch, name).by(Via::Certificate))),
            None => Ok(None),
        }
    }
}
