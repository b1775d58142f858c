//! What runs in the background for as long as the program does. Each job may be stopped at any await and begun again.

pub mod housekeeping;
pub mod listen;
pub mod reconcile;
pub mod relay;
pub mod room;
pub mod sync;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::app::App;

/// Starts all jobs.
pub fn spawn(app: &Arc<App>) -> JoinSet<()> {
    let mut jobs = JoinSet::new();
    jobs.spawn(sync::run(app.clone()));
    jobs.spawn(listen::run(app.clone()));
    jobs.spawn(reconcile::run(app.clone()));
    jobs.spawn(relay::run(app.clone()));
    jobs.spawn(housekeeping::run(app.clone()));
    jobs.spawn(room::run(app.clone()));
    jobs
}

/// Waits until called, or `at_most`; false when the program stops.
async fn rest(app: &App, call: Option<&Notify>, at_most: Duration) -> bool {
    let called = async {
        match call {
            Some(call) => call.notified().await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        go_on = app.shutdown.wait(at_most) => go_on,
        () = called => !app.shutdown.is_stopping(),
    }
}

/// What `work` came to; none if the program stopped first. `work` must be such that it may be dropped at any await.
async fn unless_stopped<T>(app: &App, work: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        () = app.shutdown.stopped() => None,
        done = work => Some(done),
    }
}
