//! Takes reports of a branch in and lets its plan follow, in one transaction.

use fleet_types::BranchName;
use service_kit::database::{DatabaseError, begin, commit, connection};
use service_kit::server::Caller;
use wire::v1::reports::{Acknowledged, Batch};

use crate::access::audit::Change;
use crate::app::App;
use crate::fleet::report_error::ReportError;
use crate::fleet::reports;
use crate::rollout::tick::{self, TickError};

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

/// Takes a batch in. Reports that an operator carried are written into the audit with it.
///
/// # Errors
/// As [`IntakeError`].
pub async fn take(
    app: &App,
    branch: &BranchName,
    batch: Batch,
    carried: Option<(&Caller, Change)>,
) -> Result<Acknowledged, IntakeError> {
    let now = app.clock.now();
    let mut client = connection(&app.pool).await?;
    let transaction = begin(&mut client).await?;
    let stored = reports::store(&transaction, branch, batch, now).await?;
    let mut issued = false;
    if stored.terminals_changed {
        issued = tick::branch(&transaction, branch, now, &app.issuer()).await?.issued.is_some();
    }
    match carried {
        Some((caller, change)) => app.audit.commit(transaction, caller, change).await?,
        None => commit(transaction).await?,
    }
    if stored.renewal_requested {
        app.reseed.notify_one();
    }
    if issued {
        app.counters.plans_issued(1);
    }
    app.counters.unknown_reports(stored.unknown);
    Ok(Acknowledged { through: stored.through })
}
