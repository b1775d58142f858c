//! Uploads whose archives are still arriving: how they begin, when they expire, how they are completed and how they end before.

use std::sync::Arc;

use access::audit::{Audit, Change};
use chrono::{DateTime, TimeDelta, Utc};
use fleet_types::ReleaseState;
use serde_json::json;
use service_kit::Clock;
use service_kit::database::{DatabaseError, GenericClient, Pool, begin, commit, connection};
use service_kit::server::Caller;
use uuid::Uuid;
use wire::{Reason, ReasonCode};

use super::moves::{MoveError, advance, upload_complete};
use super::uploads::{self, UploadError};
use crate::db;
use crate::db::releases::{NewRelease, ReleaseRow};
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
fn has_ended(release: &ReleaseRow) -> bool {
    release.state == ReleaseState::Withdrawn && release.report.is_none()
}

/// Why an upload is not what it was expected to be.
#[derive(Debug, thiserror::Error)]
pub enum ArrivalError {
    /// There is no such upload.
    #[error("there is no upload {0}")]
    Unknown(Uuid),
    /// It was cancelled, or expired.
    #[error("the upload has ended")]
    Ended(Vec<Reason>),
    /// Its file cannot be used.
    #[error(transparent)]
    File(#[from] UploadError),
    /// The release did not move.
    #[error(transparent)]
    Move(#[from] MoveError),
}

impl From<DatabaseError> for ArrivalError {
    fn from(error: DatabaseError) -> Self {
        Self::Move(error.into())
    }
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
    /// Begins an upload: a file that grows, and a release that waits for it.
    ///
    /// # Errors
    /// As [`ArrivalError`]; nothing is left then.
    pub async fn begin(&self, new: &NewRelease<'_>, caller: &Caller) -> Result<(), ArrivalError> {
        // The file first: a row without a file would promise what is not there.
        let path = self.store.upload(new.id);
        uploads::create(path.clone()).await?;
        if let Err(error) = self.insert(new, caller).await {
            uploads::remove(&path).await;
            return Err(error.into());
        }
        Ok(())
    }

    /// The row of an upload, and who began it.
    async fn insert(&self, new: &NewRelease<'_>, caller: &Caller) -> Result<(), DatabaseError> {
        let mut client = connection(&self.pool).await?;
        let transaction = begin(&mut client).await?;
        db::releases::insert(&transaction, new).await?;
        let after = json!({ "file_name": new.file_name, "archive_bytes": new.archive_bytes });
        self.audit.commit(transaction, caller, Change::of(format!("upload {}", new.id)).after(after)).await
    }

    /// Returns the release of an upload that has not ended.
    ///
    /// # Errors
    /// As [`ArrivalError`].
    pub async fn find(&self, id: Uuid) -> Result<ReleaseRow, ArrivalError> {
        let client = connection(&self.pool).await?;
        let release = db::releases::find(&client, id).await?.ok_or(ArrivalError::Unknown(id))?;
        if has_ended(&release) { Err(ArrivalError::Ended(release.reasons)) } else { Ok(release) }
    }

    /// Returns an upload and how much of it is stored durably. One that is complete goes on, one that expired ends.
    ///
    /// # Errors
    /// As [`ArrivalError`].
    pub async fn standing(&self, id: Uuid, caller: &Caller) -> Result<(ReleaseRow, u64), ArrivalError> {
        // Another request may be at it, such as one whose connection broke unnoticed: what is durable so far is told all the
        // same.
        let claim = self.claims.claim(id, &caller.name).await.ok();
        let release = self.find(id).await?;
        if release.state != ReleaseState::Uploading {
            let offset = release.archive_bytes;
            return Ok((release, offset));
        }
        let offset = uploads::durable_length(self.store.upload(id)).await?;
        if offset == release.archive_bytes {
            // All arrived, but neither the sender of the last byte nor the database learned of it.
            self.complete(id, caller).await?;
        } else if let Some(claim) = claim {
            drop(self.unexpired(claim, id).await?);
        }
        Ok((release, offset))
    }

    /// Ends the upload if it was idle for too long; otherwise returns the claim.
    ///
    /// # Errors
    /// As [`ArrivalError`].
    pub async fn unexpired(&self, claim: Claim, id: Uuid) -> Result<Claim, ArrivalError> {
        let expires = self.expires(&connection(&self.pool).await?, id).await?;
        if self.clock.now() < expires {
            return Ok(claim);
        }
        self.end(claim, id, expired(), None).await?;
        Err(ArrivalError::Ended(vec![expired()]))
    }

    /// Lets the release of a complete archive go on.
    ///
    /// # Errors
    /// As [`MoveError`].
    pub async fn complete(&self, id: Uuid, caller: &Caller) -> Result<(), MoveError> {
        let mut client = connection(&self.pool).await?;
        let transaction = begin(&mut client).await?;
        if upload_complete(&transaction, id, self.clock.now()).await? {
            let change = Change::of(format!("upload {id}")).before(json!({ "state": ReleaseState::Uploading }));
            let change = change.after(json!({ "state": ReleaseState::Validating }));
            self.audit.commit(transaction, caller, change).await?;
        }
        Ok(())
    }

    /// Notes work on an upload, so that it does not expire.
    ///
    /// # Errors
    /// The database failed.
    pub async fn touch(&self, id: Uuid) -> Result<(), DatabaseError> {
        let client = connection(&self.pool).await?;
        db::releases::touch(&client, id, self.clock.now()).await
    }
}
