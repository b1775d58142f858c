//! What head office does in the background. Every job is safe to run twice and continues after kill -9 from what the
//! database and the disk hold.

use std::sync::Arc;

use service_kit::Shutdown;
use service_kit::database::JobHandler;
use tokio::task::JoinHandle;

use crate::app::App;
use crate::releases::{publish::Publish, upkeep, validate::Validate, vouching};
use crate::seeding;
use crate::store::retention;

/// The handlers of all kinds of jobs.
pub fn handlers(app: &Arc<App>) -> Vec<Arc<dyn JobHandler>> {
    vec![Arc::new(Validate(app.clone())), Arc::new(Publish(app.clone()))]
}

/// Starts the periodic tasks.
pub fn spawn(app: &Arc<App>, shutdown: &Shutdown) -> Vec<JoinHandle<()>> {
    vec![
        tokio::spawn(seeding::upkeep::reconcile(app.clone(), shutdown.clone())),
        tokio::spawn(vouching::watch_metadata(app.clone(), shutdown.clone())),
        tokio::spawn(retention::retain(app.clone(), shutdown.clone())),
        tokio::spawn(upkeep::keep_house(app.clone(), shutdown.clone())),
    ]
}
