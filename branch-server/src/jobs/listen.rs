//! Listens to head office's calls to look again. A call that is lost costs a poll interval, never a plan.

use std::sync::Arc;

use service_kit::retry::Backoff;

use crate::app::App;
use crate::upstream::UpstreamError;
use service_kit::edge::chain;

/// Listens again and again.
pub async fn run(app: Arc<App>) {
    let settings = &app.settings.sync;
    let mut backoff = Backoff::new(settings.retry, settings.retry_max);
    while !app.shutdown.is_stopping() {
        let Some(heard) = super::unless_stopped(&app, listen(&app, &mut backoff)).await else { return };
        match heard {
            Ok(()) => {}
            // Enrolling is another job's work, and nothing that gets better by waiting longer.
            Err(UpstreamError::NotEnrolled) => backoff.reset(),
            Err(error) => tracing::debug!(error = %chain(&error), "head office's event stream broke"),
        }
        if !super::rest(&app, None, backoff.next()).await {
            return;
        }
    }
}

async fn listen(app: &App, backoff: &mut Backoff) -> Result<(), UpstreamError> {
    let mut calls = app.head_office.calls().await?;
    // What was called while nobody listened is found by asking once.
    app.signals.sync.notify_one();
    while calls.next().await? {
        backoff.reset();
        app.signals.sync.notify_one();
    }
    Ok(())
}
