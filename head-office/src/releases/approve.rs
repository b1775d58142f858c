//! Approval of a release: an operator accepts its warnings.

use chrono::{DateTime, Utc};
use fleet_types::ReleaseState;
use release::Policy;
use service_kit::database::{DatabaseError, GenericClient};
use wire::v1::releases::Finding;

use super::freeze::settle_freeze;
use super::signing::{self, SigningError};
use crate::db;
use crate::db::releases::ReleaseRow;
use crate::trust::Trust;

/// Why a release is not approved.
#[derive(Debug, thiserror::Error)]
pub enum ApproveError {
    /// It does not wait for approval.
    #[error("the release is {0} and cannot be approved")]
    NotWaiting(ReleaseState),
    /// Its warnings were accepted, or it has none.
    #[error("there is nothing to accept: the release only waits for signatures by release keys")]
    OnlySignatures,
    /// A freeze keeps it back.
    #[error("a freeze is in force")]
    Frozen(Box<Finding>),
    /// It did not go on.
    #[error(transparent)]
    Signing(#[from] SigningError),
}

impl From<DatabaseError> for ApproveError {
    fn from(error: DatabaseError) -> Self {
        Self::Signing(error.into())
    }
}

/// Accepts the warnings of a release that the transaction `c` holds ([`db::releases::lock`]).
///
/// The state that it has then: it goes on if its signatures are there.
///
/// # Errors
/// As [`ApproveError`].
pub async fn approve<C: GenericClient>(
    c: &C,
    release: &ReleaseRow,
    (by, reason): (&str, &str),
    policy: &Policy,
    trust: &Trust,
    now: DateTime<Utc>,
) -> Result<ReleaseState, ApproveError> {
    if release.state != ReleaseState::AwaitingSignature {
        // `validating → approved` is in the table too, but only the rules make that move.
        return Err(ApproveError::NotWaiting(release.state));
    }
    if release.accepted || release.report.is_some() && signing::to_accept(release).is_empty() {
        return Err(ApproveError::OnlySignatures);
    }
    if let Err(finding) = settle_freeze(c, release, policy, now).await? {
        return Err(ApproveError::Frozen(Box::new(finding)));
    }
    db::releases::set_approved(c, release.id, by, reason).await?;
    let accepted = ReleaseRow { accepted: true, ..release.clone() };
    Ok(signing::settle(c, trust, &accepted, now).await?)
}
