//! Uploads that end before their archive is complete: cancelled or expired.

use chrono::{DateTime, Utc};
use fleet_types::ReleaseState;
use serde_json::json;
use service_kit::database::{DatabaseError, GenericClient, begin, commit, connection};
use service_kit::server::Caller;
use uuid::Uuid;
use wire::{Reason, ReasonCode};

use super::moves::{MoveError, advance};
use super::uploads;
use crate::access::audit::Change;
use crate::app::App;
use crate::db;
use crate::db::releases::ReleaseRow;
use crate::store::claims::Claim;

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

/// When the upload expires, unless more arrives before.
///
/// # Errors
/// The database failed.
pub async fn expires<C: GenericClient>(app: &App, c: &C, id: Uuid) -> Result<DateTime<Utc>, DatabaseError> {
    let touched = db::releases::touched(c, id).await?;
    Ok(touched.unwrap_or_else(|| app.clock.now()) + app.settings.uploads.abandon_after)
}

/// Withdraws a release whose archive is still arriving and removes what arrived.
///
/// If the last byte came first, nothing is done. The claim keeps others from writing meanwhile. `by` is the operator
/// who cancelled it, if one did.
///
/// # Errors
/// The database failed.
pub async fn end(app: &App, claim: Claim, id: Uuid, reason: Reason, by: Option<&Caller>) -> Result<(), MoveError> {
    let mut client = connection(&app.pool).await?;
    let transaction = begin(&mut client).await?;
    let Some(release) = db::releases::lock(&transaction, id).await? else { return Ok(()) };
    if release.state != ReleaseState::Uploading {
        return Ok(());
    }
    advance(&transaction, &release, ReleaseState::Withdrawn, &[reason], app.clock.now()).await?;
    match by {
        Some(caller) => {
            let change = Change::of(format!("upload {id}")).before(json!({ "state": release.state }));
            let change = change.after(json!({ "state": ReleaseState::Withdrawn }));
            app.audit.commit(transaction, caller, change).await?;
        }
        None => commit(transaction).await?,
    }
    // After a crash before this, the `uploads` task removes the file.
    uploads::remove(&app.store.upload(id)).await;
    drop(claim);
    Ok(())
}
