//! Asks head office for the newest plan, enrolling and renewing this server's certificate on the way.

use std::sync::Arc;

use fleet_types::BranchName;
use service_kit::Clock;
use service_kit::client::ClientError;
use service_kit::database::{DatabaseError, Pool, connection};
use service_kit::edge::chain;
use trust::Why;
use trust::certificates::fingerprint;
use wire::Code;

use super::consider::{ConsiderError, Considered, Plans};
use super::judge::Refusal;
use crate::db::site;
use crate::terminals::denied::Denied;
use crate::terminals::join::{Join, JoinTokenError};
use crate::terminals::streams::Streams;
use crate::upstream::head_office::{HeadOffice, UpstreamError};
use crate::upstream::identity::Age;

/// Why head office could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum SyncError {
    /// The database.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// Head office.
    #[error(transparent)]
    Upstream(#[from] UpstreamError),
    /// The metadata that a new plan is judged by could not be fetched.
    #[error("{} {}", .0.sentence(), .0.remedy())]
    Metadata(trust::Refusal),
    /// The token that terminals enrol with.
    #[error(transparent)]
    JoinToken(#[from] JoinTokenError),
    /// The offer could not be considered.
    #[error(transparent)]
    Consider(#[from] ConsiderError),
    /// The identity is another branch's.
    #[error(
        "Head office certified this server for branch {given}, but its database belongs to branch {here}. Use a join token \
         of {here}, or an empty database."
    )]
    OtherBranch {
        /// By the identity.
        given: BranchName,
        /// By the database.
        here: String,
    },
}

/// Asks head office for the newest plan.
pub struct Poll {
    /// PostgreSQL.
    pub pool: Pool,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Head office.
    pub head_office: Arc<dyn HeadOffice>,
    /// The token that terminals enrol with.
    pub join: Arc<Join>,
    /// Considers what is offered.
    pub plans: Arc<Plans>,
    /// What head office says must not be let in.
    pub denied: Arc<Denied>,
    /// Open event streams.
    pub streams: Arc<Streams>,
}

impl Poll {
    /// Enrols if that is needed, asks, and considers what is offered.
    ///
    /// # Errors
    /// Head office is away or does not know us, or the database is gone.
    pub async fn once(&self) -> Result<(), SyncError> {
        let branch = self.identify().await?;
        if self.head_office.age() == Some(Age::Over) {
            self.head_office.renew().await?;
            tracing::info!("certificate renewed after it had expired");
        }
        let allowed = self.denied.before_asking(&self.pool).await?;
        let mut offer = match self.head_office.sync().await {
            Err(error) if is_of_identity(&error) => {
                // An operator may have put a new join token there.
                self.head_office.enrol().await.map_err(|_| error)?;
                self.head_office.sync().await?
            }
            other => other?,
        };
        if self.head_office.age() == Some(Age::Old) {
            match self.head_office.renew().await {
                Ok(()) => tracing::info!("certificate renewed"),
                Err(error) => {
                    tracing::warn!(error = %chain(&error), "certificate not renewed yet; trying again at the next poll")
                }
            }
        }
        if let Some(denied) = offer.denied.take() {
            let listed = denied.terminals.clone();
            self.denied.set(denied);
            for terminal in self.denied.deny_known(&self.pool, &listed, allowed, self.clock.now()).await? {
                self.streams.end(&terminal);
                tracing::warn!(%terminal, "denied, as head office remembers; an admin can allow it again");
            }
        }
        site::heard(&connection(&self.pool).await?, self.clock.now()).await?;
        match self.plans.consider(branch, offer, None).await? {
            // Asked again sooner than the next poll: the link may be back.
            Considered::Refused(Refusal::NotFresh(refusal))
                if matches!(refusal.why(), Why::Unfetchable | Why::SlowRetrieval) =>
            {
                Err(SyncError::Metadata(refusal))
            }
            _ => Ok(()),
        }
    }

    /// Returns the branch of this server; the identity and the database must agree.
    async fn identify(&self) -> Result<BranchName, SyncError> {
        let branch = match self.head_office.branch() {
            Some(branch) => branch,
            None => {
                let branch = self.head_office.enrol().await?;
                tracing::info!(%branch, "enrolled at head office");
                branch
            }
        };
        let client = connection(&self.pool).await?;
        if site::set_branch(&client, &branch).await? {
            drop(client);
            if let Some(identity) = self.head_office.identity() {
                // Before anything that may fail: terminals can come in from here on.
                self.join.load(&self.pool, fingerprint(&identity.authority), self.clock.now()).await?;
            }
            return Ok(branch);
        }
        let here = site::read(&client).await?.branch.map(|b| b.to_string()).unwrap_or_default();
        Err(SyncError::OtherBranch { given: branch, here })
    }
}

/// Whether a new join token may resolve this error.
fn is_of_identity(error: &UpstreamError) -> bool {
    use UpstreamError::{Client, IdentityRefused};
    // An unknown authority may be that of a reinstalled head office: the join token names the new one.
    matches!(error, IdentityRefused { .. } | Client(ClientError::Distrusted { .. }))
        || error.code() == Some(Code::BranchRemoved)
}
