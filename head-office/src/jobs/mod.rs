//! What head office does in the background, one file per job. Every job is safe to run twice and continues after
//! kill -9 from what the database and the disk hold.

mod housekeeping;
mod metadata;
mod meter;
mod publish;
mod reconcile;
pub(crate) mod retention;
mod stock;
mod validate;

use std::sync::Arc;

use service_kit::database::{JobError, JobHandler};

use crate::app::App;
use crate::releases::MoveError;

pub use housekeeping::{keep_house, remove_unknown_archives};
pub use metadata::{watch_metadata, watch_once};
pub use meter::{Meter, measured};
pub use reconcile::reconcile;
pub use retention::retain;
pub use stock::take_stock;
pub(crate) use validate::remove_archive;

/// The handlers of all kinds of jobs.
pub fn handlers(app: &Arc<App>) -> Vec<Arc<dyn JobHandler>> {
    vec![Arc::new(validate::Validate(app.clone())), Arc::new(publish::Publish(app.clone()))]
}

/// An error and its causes as one sentence.
pub(crate) fn sentence(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        // Some libraries repeat their cause's words in their own.
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        next = cause.source();
    }
    text
}

/// Whether a full disk is the cause of an error.
pub(crate) fn is_disk_full(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(error) = error.downcast_ref::<std::io::Error>()
            && matches!(error.kind(), std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded)
        {
            return true;
        }
        next = error.source();
    }
    false
}

fn moved(error: MoveError) -> JobError {
    match error {
        MoveError::Database(error) => error.into(),
        MoveError::NotAllowed(error) => JobError::GiveUp(error.to_string()),
    }
}

fn subject(context: &service_kit::database::JobContext) -> Result<uuid::Uuid, JobError> {
    context.job.subject.parse().map_err(|_| JobError::GiveUp(format!("{} is no release", context.job.subject)))
}
