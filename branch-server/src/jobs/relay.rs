//! Delivers reports to head office for as long as there are some.

use std::sync::Arc;
use std::time::Duration;

use service_kit::retry::Backoff;
use wire::v1::reports::MAX_BATCH;

use crate::app::App;
use crate::relay::{Delivery, RelayError, deliver};
use crate::upstream::UpstreamError;
use service_kit::edge::chain;

/// How long to wait without a call: bounds what a lost one costs.
const IDLE: Duration = Duration::from_secs(10);

/// Delivers again and again.
pub async fn run(app: Arc<App>) {
    let settings = &app.settings.sync;
    let mut backoff = Backoff::new(settings.retry, settings.retry_max);
    let mut limit = MAX_BATCH;
    loop {
        let delivery = deliver(&app.pool, &*app.head_office, limit);
        let Some(delivered) = super::unless_stopped(&app, delivery).await else { return };
        let go_on = match delivered {
            Ok(Delivery::Nothing) => {
                limit = MAX_BATCH;
                super::rest(&app, Some(&app.signals.relay), IDLE).await
            }
            Ok(delivery) => {
                backoff.reset();
                limit = next_limit(&app, delivery, limit);
                !app.shutdown.is_stopping()
            }
            Err(RelayError::Upstream(UpstreamError::NotEnrolled)) => {
                super::rest(&app, Some(&app.signals.relay), settings.retry).await
            }
            Err(error) => {
                // Said once, not at every try.
                if backoff.failures() == 0 {
                    tracing::warn!(error = %chain(&error), "reports wait for head office");
                } else {
                    tracing::debug!(error = %chain(&error), attempt = backoff.failures() + 1, "reports wait");
                }
                // Not woken by new reports: they would only knock at a closed door.
                super::rest(&app, None, backoff.next()).await
            }
        };
        if !go_on {
            return;
        }
    }
}

/// How many reports to send next: single ones while one is looked for that head office does not take.
fn next_limit(app: &App, delivery: Delivery, limit: usize) -> usize {
    match delivery {
        Delivery::Delivered(count) => {
            app.metrics.relay_delivered.inc_by(count);
            limit
        }
        Delivery::OneByOne => 1,
        Delivery::SetAside => {
            app.metrics.relay_set_aside.inc();
            MAX_BATCH
        }
        Delivery::Renumbered | Delivery::Nothing => MAX_BATCH,
    }
}
