//! Branch servers by their certificates.

use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use fleet_types::BranchName;
use service_kit::database::connection;
use service_kit::server::{ApiError, Authenticator, Caller, PeerCertificates, Via};
use trust::certificates::Identity;
use wire::Code;

use crate::app::App;
use crate::db;

/// The branch that this key belonged to is gone.
pub fn was_removed(branch: &BranchName, at: DateTime<Utc>) -> ApiError {
    let day = at.format("%Y-%m-%d");
    let detail = format!("The branch {branch} was removed from head office on {day}, which revoked this identity.");
    let remedy = "Stop this branch server. To bring the branch back, add it again at head office (`filial branch add`) and \
        give the server the new join token.";
    ApiError::new(Code::BranchRemoved, detail, remedy)
}

/// The key is denied.
pub fn is_denied(branch: &BranchName) -> ApiError {
    let detail = format!("The identity of the server of branch {branch} is denied.");
    let remedy = "Ask head office's operator to lift the denial (`filial branch allow`). If the server's key was stolen: remove the branch, add it \
        again, and delete the server's identity files before it gets the new join token.";
    ApiError::new(Code::IdentityDenied, detail, remedy)
}

/// Authenticates branch servers by the key of their intermediate.
///
/// Only the key that enrolled counts, not an earlier one of the same branch name.
pub struct BranchCertificates(Arc<App>);

impl BranchCertificates {
    /// Out of this application's database.
    pub fn new(app: Arc<App>) -> Self {
        Self(app)
    }
}

#[async_trait]
impl Authenticator for BranchCertificates {
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
        let (Identity::Branch(branch), Some(key)) = (checked.identity, checked.issuer) else { return Ok(None) };
        let client = connection(&self.0.pool).await?;
        match db::branches::known(&client, &branch).await? {
            Some((known, None)) if known == key => {}
            Some((known, Some(_))) if known == key => return Err(is_denied(&branch)),
            _ => {
                let removed = db::branches::removed_by_key(&client, &key).await?;
                return removed.map_or(Ok(None), |r| Err(was_removed(&r.name, r.at)));
            }
        }
        db::branches::heard(&client, &branch, self.0.clock.now()).await?;
        Ok(Some(Caller::branch(branch).by(Via::Certificate)))
    }
}
