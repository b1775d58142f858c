//! Uploads whose archives are still arriving: when they expire, and how they end before they are complete.

use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use fleet_types::ReleaseState;
use serde_json::json;
use service_kit::Clock;
use service_kit::database::{DatabaseError, GenericClient, Pool, begin, commit, connection};
use service_kit::server::Caller;
use uuid::Uuid;
use wire::{Reason, ReasonCode};

use super::moves::{MoveError, advance};
use super::uploads;
use crate::access::audit::{Audit, Change};
use crate::db;
use crate::db::releases::ReleaseRow;
use crate::store::claims::{Claim, Claims};
use crate::store::folders::Store;

/// Returns the reason of a release whose upload was idle for too long.
pub fn expired() -> Reason {
    Reason::of(ReasonCode::UploadExpired)
}

/// Returns the reason of a release whose upload an operator cancelled.
pub fn cancelled_by(operator: &str) -> Reason {
    Reason::of(ReasonCode::UploadCancelled).with("operator", operator)
}

/// Whether a release is one whose archive never arrived whole.
pub fn has_ended(release: &ReleaseRow) -> bool {
    release.state == ReleaseState::Withdrawn && release.report.is_none()
}

/// Uploads whose archives are arriving.
pub struct Uploads {
    /// The database.
    pub pool: Pool,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// The folders.
    pub store: Store,
    /// Who writes which upload.
    pub claims: Claims,
    /// Records what operators do.
    pub audit: Arc<Audit>,
    /// An upload to which nothing came for so long is given up.
    pub abandon_after: TimeDelta,
}

impl Uploads {
    /// When the upload expires, unless more arrives before.
    ///
    /// # Errors
    /// The database failed.
    pub async fn expires<C: GenericClient>(&self, c: &C, id: Uuid) -> Result<DateTime<Utc>, DatabaseError> {
        let touched = db::releases::touched(c, id).await?;
        Ok(touched.unwrap_or_else(|| self.clock.now()) + self.abandon_after)
    }

    /// Withdraws a release whose archive is still arriving and removes what arrived.
    ///
    /// If the last byte came first, nothing is done. The claim keeps others from writing meanwhile. `by` is the operator
    /// who cancelled it, if one did.
    ///
    /// # Errors
    /// The database failed.
    pub async fn end(&self, claim: Claim, id: Uuid, reason: Reason, by: Option<&Caller>) -> Result<(), MoveError> {
        let mut client = connection(&self.pool).await?;
        let transaction = begin(&mut client).await?;
        let Some(release) = db::releases::lock(&transaction, id).await? else { return Ok(()) };
        if release.state != ReleaseState::Uploading {
            return Ok(());
        }
        advance(&transaction, &release, ReleaseState::Withdrawn, &[reason], self.clock.now()).await?;
        match by {
            Some(caller) => {
                let change = Change::of(format!("upload {id}")).before(json!({ "state": release.state }));
                let change = change.after(json!({ "state": ReleaseState::Withdrawn }));
                self.audit.commit(transaction, caller, change).await?;
            }
            None => commit(transaction).await?,
        }
        // After a crash before this, the `uploads` task removes the file.
        uploads::remove(&self.store.upload(id)).await;
        drop(claim);
        Ok(())
    }
}
