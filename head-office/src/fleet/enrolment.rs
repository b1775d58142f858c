//! Enrolment of branch servers: which branch a join token or a key stands for, and whether it may be used.

use chrono::{DateTime, Utc};
use fleet_types::{BranchName, Digest};
use rustls_pki_types::CertificateDer;
use service_kit::database::{DatabaseError, GenericClient};
use service_kit::token::{self, MAX_TOKEN_LEN};
use trust::certificates::validity;

use crate::db;
use crate::db::branches::IdentityRow;

/// Why a branch server is not certified.
#[derive(Debug, thiserror::Error)]
pub enum EnrolError {
    /// No branch has this join token.
    #[error("the join token is not valid")]
    UnknownToken,
    /// No branch server has this key.
    #[error("no branch server has enrolled with this key")]
    UnknownKey,
    /// A server with another key used the join token.
    #[error("the join token of branch {branch} was used on {} by a server with the key {}", .at.map(moment).unwrap_or_default(), .key.short())]
    TokenUsed {
        /// The branch.
        branch: BranchName,
        /// When it was used.
        at: Option<DateTime<Utc>>,
        /// The other key.
        key: Digest,
    },
    /// The join token expired.
    #[error("the join token expired{}", .at.map(|at| format!(" on {}", moment(at))).unwrap_or_default())]
    TokenExpired {
        /// The branch.
        branch: BranchName,
        /// When it expired.
        at: Option<DateTime<Utc>>,
    },
    /// The key is that of another branch's server.
    #[error("the key of this request belongs to the server of branch {0}")]
    KeyOfOther(BranchName),
    /// The identity is denied.
    #[error("the identity of the server of branch {0} is denied")]
    Denied(BranchName),
    /// The branch was removed.
    #[error("branch {branch} was removed")]
    Removed {
        /// The branch.
        branch: BranchName,
        /// When it was removed.
        at: DateTime<Utc>,
    },
    /// The database failed.
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

/// Returns the branch that a server with `key` may enrol for: by its join token, or as a server that enrolled before.
///
/// # Errors
/// As [`EnrolError`].
pub async fn admit<C: GenericClient>(
    c: &C,
    join_token: Option<&str>,
    key: &Digest,
    now: DateTime<Utc>,
) -> Result<IdentityRow, EnrolError> {
    let row = match join_token {
        Some(token) => by_token(c, token, key, now).await?,
        None => by_key(c, key).await?,
    };
    if row.denied.is_some() { Err(EnrolError::Denied(row.name)) } else { Ok(row) }
}

/// Returns the certificate that a server with `key` has already, if it is young enough to be the answer again.
pub fn kept(row: &IdentityRow, key: &Digest, now: DateTime<Utc>) -> Option<CertificateDer<'static>> {
    let kept = row.certificate.as_deref().filter(|_| row.key.as_ref() == Some(key))?;
    let certificate = CertificateDer::from(kept.to_vec());
    let young = validity(&certificate).is_ok_and(|(from, until)| now < from + (until - from) / 2);
    young.then_some(certificate)
}

/// The branch whose join token this is, if this key may use it.
async fn by_token<C: GenericClient>(
    c: &C,
    text: &str,
    key: &Digest,
    now: DateTime<Utc>,
) -> Result<IdentityRow, EnrolError> {
    if text.len() > MAX_TOKEN_LEN {
        return Err(EnrolError::UnknownToken);
    }
    let row = db::branches::by_join_token(c, &token::hash(text)).await?.ok_or(EnrolError::UnknownToken)?;
    if let Some(other) = row.key.filter(|other| other != key) {
        return Err(EnrolError::TokenUsed { branch: row.name, at: row.enrolled, key: other });
    }
    if row.join_token_expires.is_none_or(|expires| expires <= now) {
        return Err(EnrolError::TokenExpired { branch: row.name, at: row.join_token_expires });
    }
    if let Some(other) = db::branches::by_key(c, key).await?.filter(|other| other.name != row.name) {
        return Err(EnrolError::KeyOfOther(other.name));
    }
    match db::branches::removed_by_key(c, key).await? {
        Some(removed) if removed.denied => Err(EnrolError::Denied(removed.name)),
        _ => Ok(row),
    }
}

/// The branch whose server has this key.
async fn by_key<C: GenericClient>(c: &C, key: &Digest) -> Result<IdentityRow, EnrolError> {
    if let Some(row) = db::branches::by_key(c, key).await? {
        return Ok(row);
    }
    Err(match db::branches::removed_by_key(c, key).await? {
        Some(removed) => EnrolError::Removed { branch: removed.name, at: removed.at },
        None => EnrolError::UnknownKey,
    })
}

/// Formats a time for people.
fn moment(at: DateTime<Utc>) -> String {
    at.format("%Y-%m-%d %H:%M UTC").to_string()
}
