//! Keeps the artifacts in step with the plan: one pass after the other.

use std::sync::Arc;

use service_kit::retry::Backoff;

use crate::app::App;
use crate::sync::run::Runner;
use service_kit::edge::chain;

/// Makes passes until the program stops.
pub async fn run(app: Arc<App>) {
    let settings = app.settings.sync.clone();
    let mut backoff = Backoff::new(settings.retry, settings.retry_max);
    let mut runner = Runner::new(app.clone());
    loop {
        let Some(passed) = super::unless_stopped(&app, runner.pass()).await else { return };
        let wait = match passed {
            Ok(_) => {
                if backoff.failures() > 0 {
                    tracing::info!(attempts = backoff.failures(), "the artifacts can be looked at again");
                }
                backoff.reset();
                settings.pass
            }
            Err(error) => {
                // Said once, not at every pass.
                if backoff.failures() == 0 {
                    tracing::warn!(error = %chain(&error), "the artifacts cannot be looked at; trying again");
                } else {
                    tracing::debug!(error = %chain(&error), "the artifacts still cannot be looked at");
                }
                backoff.next()
            }
        };
        if !super::rest(&app, Some(&app.signals.pass), wait).await {
            return;
        }
    }
}
