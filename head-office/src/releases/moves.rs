//! How a release moves from state to state, with the job and the event that belong to each move.

use chrono::{DateTime, Utc};
use fleet_types::{ReleaseState, TransitionError};
use serde_json::json;
use service_kit::database::{DatabaseError, GenericClient, JobContext, JobError, jobs, outbox};
use service_kit::edge::chain;
use uuid::Uuid;
use wire::{Reason, sentences};

use crate::db;
use crate::db::releases::ReleaseRow;
use crate::rollout::tick::TickError;

/// The audience of what operators' consoles want to know.
pub const OPERATORS: &str = "operators";

/// The job that judges an archive.
pub const VALIDATE: &str = "validate";

/// The job that publishes a release.
pub const PUBLISH: &str = "publish";

/// Why a release did not move.
#[derive(Debug, thiserror::Error)]
pub enum MoveError {
    /// The table has no such move.
    #[error(transparent)]
    NotAllowed(#[from] TransitionError),
    /// Another change moved the release first.
    #[error("release {release} is no longer {expected}: another change came first")]
    Overtaken {
        /// The release.
        release: Uuid,
        /// The state that this move began from.
        expected: ReleaseState,
    },
    /// The database failed.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// The branches' plans could not follow.
    #[error(transparent)]
    Plan(#[from] TickError),
}

/// Moves a release that the transaction `c` holds ([`db::releases::lock`]).
///
/// Checks the transition table, stores the state, asks for the job that the new state needs and writes the event, all
/// or nothing.
///
/// # Errors
/// The table has no such move, the release moved meanwhile, or the database failed.
pub async fn advance<C: GenericClient>(
    c: &C,
    release: &ReleaseRow,
    to: ReleaseState,
    reasons: &[Reason],
    now: DateTime<Utc>,
) -> Result<(), MoveError> {
    let to = release.state.to(to)?;
    if !db::releases::set_state(c, release.id, release.state, to, reasons, now).await? {
        // Only possible without the lock: the release moved after this move was checked.
        return Err(MoveError::Overtaken { release: release.id, expected: release.state });
    }
    let job = match to {
        ReleaseState::Validating => Some(VALIDATE),
        ReleaseState::Approved => Some(PUBLISH),
        _ => None,
    };
    if let Some(kind) = job {
        jobs::enqueue(c, kind, &release.id.to_string(), &json!({}), now).await?;
    }
    let body = json!({ "kind": "release", "id": release.id, "state": to });
    outbox::append(c, OPERATORS, &body, now).await?;
    tracing::info!(release = %release.id, from = %release.state, %to, reason = sentences(reasons), "release moved");
    Ok(())
}

/// The upload is complete: to `validating`, unless that happened already. Whether it moved.
///
/// # Errors
/// The database failed.
pub async fn upload_complete<C: GenericClient>(c: &C, id: Uuid, now: DateTime<Utc>) -> Result<bool, MoveError> {
    match db::releases::lock(c, id).await? {
        Some(release) if release.state == ReleaseState::Uploading => {
            advance(c, &release, ReleaseState::Validating, &[], now).await.map(|()| true)
        }
        _ => Ok(false),
    }
}

/// A failed move, for a job: what the table forbids is not tried again, all else is.
pub fn moved(error: MoveError) -> JobError {
    match error {
        MoveError::Database(error) | MoveError::Plan(TickError::Database(error)) => error.into(),
        MoveError::Plan(error) => JobError::Retry(chain(&error)),
        overtaken @ MoveError::Overtaken { .. } => JobError::Retry(overtaken.to_string()),
        MoveError::NotAllowed(error) => JobError::GiveUp(error.to_string()),
    }
}

/// The release that a job is about.
///
/// # Errors
/// Its subject is not the id of a release.
pub fn subject(context: &JobContext) -> Result<Uuid, JobError> {
    context
        .job
        .subject
        .parse()
        .map_err(|_| JobError::GiveUp(format!("{} is not the id of a release", context.job.subject)))
}
