//! What runs in the background for as long as the program does. Each task may be stopped at any await and started again.

use std::sync::Arc;
use std::time::Duration;

use service_kit::database::{DatabaseError, connection};
use service_kit::edge::chain;
use service_kit::retry::Backoff;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use wire::v1::reports::MAX_BATCH;

use crate::app::App;
use crate::artifacts::announce::announce_arriving;
use crate::artifacts::room_report;
use crate::artifacts::run::Runner;
use crate::db::site;
use crate::housekeeping;
use crate::reports::relay::{Delivery, RelayError, deliver};
use crate::text::presentable;
use crate::upstream::head_office::UpstreamError;

/// How long work that has nothing to do waits without a call: bounds the cost of a lost one.
const IDLE: Duration = Duration::from_secs(10);

/// Starts all tasks.
pub fn spawn(app: &Arc<App>) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    tasks.spawn(poll(app.clone()));
    tasks.spawn(listen(app.clone()));
    tasks.spawn(artifacts(app.clone()));
    tasks.spawn(relay(app.clone()));
    tasks.spawn(tidy(app.clone()));
    tasks.spawn(room(app.clone()));
    tasks
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

/// Returns what `work` came to; none if the program stopped first. `work` may be dropped at any await.
async fn unless_stopped<T>(app: &App, work: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        () = app.shutdown.stopped() => None,
        done = work => Some(done),
    }
}

/// Asks head office for the newest plan: when called, and otherwise at intervals with jitter, so that a fleet does not
/// ask in step.
async fn poll(app: Arc<App>) {
    let settings = app.settings.sync.clone();
    let mut backoff = Backoff::new(settings.retry, settings.retry_max);
    loop {
        // Enrolling is not interrupted: it would only have to start over.
        let asked = match app.head_office.branch() {
            Some(_) => unless_stopped(&app, app.poll.once()).await,
            None => Some(app.poll.once().await),
        };
        let Some(asked) = asked else { return };
        let wait = match asked {
            Ok(()) => {
                if backoff.failures() > 0 {
                    tracing::info!(attempts = backoff.failures(), "head office answers again");
                    announce_arriving(&app.pool, &*app.engine).await;
                }
                backoff.reset();
                // From three quarters of the interval to the whole.
                settings.poll - Backoff::new(settings.poll / 4, settings.poll / 4).next()
            }
            Err(error) => {
                let text = presentable(&chain(&error));
                // Logged once, not at every try; /v1/status shows it.
                if backoff.failures() == 0 {
                    tracing::warn!(error = %text, "head office does not answer; trying again");
                } else {
                    tracing::debug!(error = %text, attempt = backoff.failures() + 1, "head office does not answer");
                }
                if let Err(error) = record_trouble(&app, &text).await {
                    tracing::debug!(error = %chain(&error), "and that could not be recorded");
                }
                backoff.next()
            }
        };
        if !rest(&app, Some(&app.signals.sync), wait).await {
            return;
        }
    }
}

async fn record_trouble(app: &App, text: &str) -> Result<(), DatabaseError> {
    site::unheard(&connection(&app.pool).await?, text).await
}

/// Listens to head office's calls to look again. A call that is lost costs a poll interval, never a plan.
async fn listen(app: Arc<App>) {
    let settings = &app.settings.sync;
    let mut backoff = Backoff::new(settings.retry, settings.retry_max);
    while !app.shutdown.is_stopping() {
        let Some(heard) = unless_stopped(&app, take_calls(&app, &mut backoff)).await else { return };
        match heard {
            Ok(()) => {}
            // The poll enrols; waiting longer would not help.
            Err(UpstreamError::NotEnrolled) => backoff.reset(),
            Err(error) => tracing::debug!(error = %chain(&error), "head office's event stream broke"),
        }
        if !rest(&app, None, backoff.next()).await {
            return;
        }
    }
}

async fn take_calls(app: &App, backoff: &mut Backoff) -> Result<(), UpstreamError> {
    let mut calls = app.head_office.calls().await?;
    // Calls that were made while the stream was down are found by asking once.
    app.signals.sync.notify_one();
    while calls.next().await? {
        backoff.reset();
        app.signals.sync.notify_one();
    }
    Ok(())
}

/// Keeps the artifacts in step with the plan: one pass after the other.
async fn artifacts(app: Arc<App>) {
    let settings = app.settings.sync.clone();
    let mut backoff = Backoff::new(settings.retry, settings.retry_max);
    let mut runner = Runner::new(app.artifacts.clone());
    loop {
        let Some(passed) = unless_stopped(&app, runner.pass()).await else { return };
        let wait = match passed {
            Ok(_) => {
                if backoff.failures() > 0 {
                    tracing::info!(attempts = backoff.failures(), "passes over the artifacts work again");
                }
                backoff.reset();
                settings.pass
            }
            Err(error) => {
                // Logged once, not at every pass.
                if backoff.failures() == 0 {
                    tracing::warn!(error = %chain(&error), "the pass over the artifacts failed; trying again");
                } else {
                    tracing::debug!(error = %chain(&error), "the pass over the artifacts failed again");
                }
                backoff.next()
            }
        };
        if !rest(&app, Some(&app.signals.pass), wait).await {
            return;
        }
    }
}

/// Delivers reports to head office for as long as there are some.
async fn relay(app: Arc<App>) {
    let settings = &app.settings.sync;
    let mut backoff = Backoff::new(settings.retry, settings.retry_max);
    let mut limit = MAX_BATCH;
    loop {
        let delivery = deliver(&app.pool, &*app.head_office, limit);
        let Some(delivered) = unless_stopped(&app, delivery).await else { return };
        let go_on = match delivered {
            Ok(Delivery::Nothing) => {
                limit = MAX_BATCH;
                rest(&app, Some(&app.signals.relay), IDLE).await
            }
            Ok(delivery) => {
                backoff.reset();
                limit = next_limit(&app, delivery, limit);
                !app.shutdown.is_stopping()
            }
            Err(RelayError::Upstream(UpstreamError::NotEnrolled)) => {
                rest(&app, Some(&app.signals.relay), settings.retry).await
            }
            Err(error) => {
                // Logged once, not at every try.
                if backoff.failures() == 0 {
                    tracing::warn!(error = %chain(&error), "reports are queued until head office answers");
                } else {
                    tracing::debug!(error = %chain(&error), attempt = backoff.failures() + 1, "reports are queued");
                }
                // Not woken by new reports: head office does not answer them either.
                rest(&app, None, backoff.next()).await
            }
        };
        if !go_on {
            return;
        }
    }
}

/// Returns how many reports to send next: single ones while a report that head office refuses is being found.
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

async fn tidy(app: Arc<App>) {
    let mut pruned = None;
    loop {
        if let Err(error) = housekeeping::once(&app, &mut pruned).await {
            tracing::debug!(error = %chain(&error), "housekeeping failed; trying again");
        }
        if !rest(&app, None, IDLE).await {
            return;
        }
    }
}

async fn room(app: Arc<App>) {
    let mut reported = None;
    loop {
        if let Err(error) = room_report::once(&app.artifacts, &mut reported).await {
            tracing::debug!(error = %chain(&error), "the room in the store is reported later");
        }
        if !rest(&app, None, IDLE).await {
            return;
        }
    }
}
