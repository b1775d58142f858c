//! Takes reports of a branch in and lets its plan follow, in one transaction.

use std::sync::Arc;

use access::audit::{Audit, Change};
use fleet_types::BranchName;
use service_kit::Clock;
use service_kit::database::{DatabaseError, Pool, begin, commit, connection};
use service_kit::edge::chain;
use service_kit::server::{Caller, Role};
use service_kit::turns::Turns;
use tokio::sync::Notify;
use wire::v1::reports::{Acknowledged, Batch};

use crate::db;
use crate::fleet::carried::Bearer;
use crate::fleet::report_error::ReportError;
use crate::fleet::reports;
use crate::metrics::Counters;
use crate::rollout::follow::{self, Followed};
use crate::rollout::tick::{Issuer, TickError};

/// Why reports were not taken in. Nothing of the batch is stored then.
#[derive(Debug, thiserror::Error)]
pub enum IntakeError {
    /// The reports are refused.
    #[error(transparent)]
    Report(#[from] ReportError),
    /// The branch's plan could not follow.
    #[error(transparent)]
    Plan(#[from] TickError),
}

impl From<DatabaseError> for IntakeError {
    fn from(error: DatabaseError) -> Self {
        Self::Report(error.into())
    }
}

/// Takes reports of branches in.
pub struct Intake {
    /// The database.
    pub pool: Pool,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Issues the plan that follows from a report.
    pub issuer: Issuer,
    /// Records what an operator carried.
    pub audit: Arc<Audit>,
    /// Counts plans and unknown reports.
    pub counters: Counters,
    /// Wakes the renewal of torrents.
    pub reseed: Arc<Notify>,
    /// Wakes the task that lets plans follow later.
    pub delayed: Arc<Notify>,
    /// One batch of a branch at a time: others of it wait here, and not with a connection of the database in hand.
    pub turns: Turns<BranchName>,
}

impl Intake {
    /// Takes a batch in. Reports that an operator carried are written into the audit with it.
    ///
    /// # Errors
    /// As [`IntakeError`].
    pub async fn take(
        &self,
        branch: &BranchName,
        batch: Batch,
        carried: Option<(&Caller, Change)>,
    ) -> Result<Acknowledged, IntakeError> {
        // None is refused: the listener bounds how many of a branch there are.
        let _turn = self.turns.take(branch.clone()).await;
        let now = self.clock.now();
        let mut client = connection(&self.pool).await?;
        let transaction = begin(&mut client).await?;
        let bearer = match &carried {
            None => Bearer::Branch,
            Some((caller, _)) if caller.role.reaches(Role::Admin) => Bearer::Admin,
            Some(_) => Bearer::Operator,
        };
        let stored = match reports::store(&transaction, branch, batch, bearer, now).await {
            Err(error @ (ReportError::NumberReused { .. } | ReportError::Superseded { .. })) if carried.is_none() => {
                transaction.rollback().await.map_err(|e| DatabaseError::Transaction("rollback", e))?;
                tracing::warn!(%branch, %error, "numbers of reports were used twice");
                db::reused_numbers::record(&client, branch, None, 1, now).await?;
                return Err(error.into());
            }
            // An operator may carry a file of an earlier numbering late: only the link tells of a second machine.
            Err(ReportError::NumberReused { seq } | ReportError::Superseded { seq }) => {
                return Err(ReportError::CarriedLate { seq }.into());
            }
            stored => stored?,
        };
        let (mut issued, mut is_delayed) = (false, false);
        if stored.terminals_changed {
            issued = match follow::report(&transaction, branch, now, &self.issuer).await {
                Ok(Followed::Issued) => true,
                Ok(Followed::Unchanged) => false,
                Ok(Followed::Later) => {
                    is_delayed = true;
                    false
                }
                // The reports are right, and `status` shows the plan: confirmations must not wait behind it.
                Err(TickError::Database(error @ DatabaseError::Value { .. })) => {
                    tracing::error!(%branch, error = %chain(&error), "the branch's plan cannot be read: it does not follow its terminals");
                    false
                }
                Err(error) => return Err(error.into()),
            };
        }
        match carried {
            Some((caller, change)) => self.audit.commit(transaction, caller, change).await?,
            None => commit(transaction).await?,
        }
        if stored.renewal_requested {
            self.reseed.notify_one();
        }
        if is_delayed {
            self.delayed.notify_one();
        }
        if issued {
            self.counters.plans_issued(1);
        }
        self.counters.unknown_reports(stored.unknown);
        self.counters.states_not_taken(stored.not_taken.len() as u64);
        Ok(Acknowledged { through: stored.through, not_taken: stored.not_taken })
    }
}
