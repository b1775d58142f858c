//! What runs in the background for as long as the program does.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use service_kit::background::{Driver, Failure, Next, Task, Work};
use service_kit::database::{DatabaseError, connection};
use service_kit::edge::chain;
use service_kit::retry::Backoff;
use wire::v1::audit::Head;
use wire::v1::reports::MAX_BATCH;

use crate::app::App;
use crate::artifacts::announce::announce_arriving;
use crate::artifacts::room_report;
use crate::artifacts::run::Runner;
use crate::db::site;
use crate::housekeeping::Housekeeping;
use crate::reports::relay::{Delivery, RelayError, deliver};
use crate::reports::{audit_head, denials};
use crate::text::presentable;
use crate::upstream::head_office::UpstreamError;

/// The interval of work without a setting of its own; it bounds the cost of a lost call.
const INTERVAL: Duration = Duration::from_secs(10);

/// Starts all tasks.
pub fn start(app: &Arc<App>) -> Driver {
    let (sync, signals) = (&app.settings.sync, &app.signals);
    let retried = |task: Task| task.retry(sync.retry, sync.retry_max);
    let mut driver = Driver::new(app.board.clone(), app.clock.clone(), app.shutdown.clone());
    // With jitter, so that a fleet does not ask in step.
    let poll = retried(Task::every("poll", sync.poll)).jitter(0.25).woken_by(signals.sync.clone());
    driver.start(poll, Poll(app.clone()));
    driver.start(retried(Task::every("listen", sync.retry_max)), Listen(app.clone()));
    let artifacts = retried(Task::every("artifacts", sync.pass)).woken_by(signals.pass.clone());
    driver.start(artifacts, Artifacts(Runner::new(app.artifacts.clone())));
    // Not woken in backoff: head office does not answer new reports either.
    let relay = retried(Task::every("relay", INTERVAL)).woken_by(signals.relay.clone()).not_woken_in_backoff();
    driver.start(relay, Relay { app: app.clone(), limit: MAX_BATCH });
    driver.start(Task::every("housekeeping", INTERVAL), housekeeping(app));
    driver.start(Task::every("audit-head", INTERVAL), AuditHead { app: app.clone(), reported: None });
    driver.start(Task::every("denials", INTERVAL), Denials { app: app.clone(), are_reported: false });
    driver.start(Task::every("store-room", INTERVAL), Room { app: app.clone(), reported: None });
    driver
}

/// Returns the task `housekeeping`.
pub fn housekeeping(app: &App) -> Housekeeping {
    let (pool, clock, metrics) = (app.pool.clone(), app.clock.clone(), app.metrics.clone());
    Housekeeping::new(pool, clock, metrics, app.metadata.clone(), app.streams.clone())
}

/// Asks head office for the newest plan.
struct Poll(Arc<App>);

#[async_trait]
impl Work for Poll {
    async fn run(&mut self) -> Result<Next, Failure> {
        let Err(error) = self.0.poll.once().await else { return Ok(Next::Interval) };
        let text = presentable(&chain(&error));
        if let Err(error) = record_trouble(&self.0, &text).await {
            tracing::debug!(error = %chain(&error), "the error of head office was not recorded");
        }
        Err(Failure::new(text))
    }

    fn may_be_dropped(&self) -> bool {
        // An interrupted enrolment would only have to start over.
        self.0.head_office.branch().is_some()
    }

    async fn recovered(&mut self, _: u32) {
        announce_arriving(&self.0.pool, &*self.0.engine).await;
    }
}

async fn record_trouble(app: &App, text: &str) -> Result<(), DatabaseError> {
    site::unheard(&connection(&app.pool).await?, text).await
}

/// Listens to head office's calls to look again. A lost call costs a poll interval, never a plan.
struct Listen(Arc<App>);

#[async_trait]
impl Work for Listen {
    async fn run(&mut self) -> Result<Next, Failure> {
        let retry = self.0.settings.sync.retry;
        let mut calls = match self.0.head_office.calls().await {
            Ok(calls) => calls,
            // The poll enrols; waiting longer would not help.
            Err(error @ UpstreamError::NotEnrolled) => {
                return Err(Failure::new(chain(&error)).expected().retry_after(retry));
            }
            Err(error) => return Err(Failure::new(chain(&error)).expected()),
        };
        // Calls that were made while the stream was down are found by asking once.
        self.0.signals.sync.notify_one();
        let mut called = false;
        loop {
            match calls.next().await {
                Ok(true) => {
                    called = true;
                    self.0.signals.sync.notify_one();
                }
                // It worked until now: the stream is opened again soon, at random, so that a fleet does not come in step.
                Ok(false) | Err(_) if called => return Ok(Next::After(Backoff::new(retry, retry).next())),
                Ok(false) => return Err(Failure::new("Head office ended the event stream.").expected()),
                Err(error) => return Err(Failure::new(chain(&error)).expected()),
            }
        }
    }
}

/// Keeps the artifacts in step with the plan: one pass after the other.
struct Artifacts(Runner);

#[async_trait]
impl Work for Artifacts {
    async fn run(&mut self) -> Result<Next, Failure> {
        self.0.pass().await?;
        Ok(Next::Interval)
    }
}

/// Delivers reports to head office for as long as there are some.
struct Relay {
    app: Arc<App>,
    /// How many reports to send at once: single ones while a report that head office refuses is being found.
    limit: usize,
}

#[async_trait]
impl Work for Relay {
    async fn run(&mut self) -> Result<Next, Failure> {
        let delivered = deliver(&self.app.pool, &*self.app.head_office, self.limit, self.app.clock.now()).await;
        let delivered = delivered.map_err(|error| match error {
            RelayError::Upstream(UpstreamError::NotEnrolled) => {
                Failure::new(chain(&error)).expected().retry_after(self.app.settings.sync.retry)
            }
            error => error.into(),
        })?;
        match delivered {
            Delivery::Delivered(count) => drop(self.app.metrics.relay_delivered.inc_by(count)),
            Delivery::OneByOne => self.limit = 1,
            Delivery::SetAside => {
                self.app.metrics.relay_set_aside.inc();
                self.limit = MAX_BATCH;
            }
            Delivery::Renumbered => {
                self.limit = MAX_BATCH;
                // With a pause: two servers with one database would renumber without end.
                return Ok(Next::After(self.app.settings.sync.retry));
            }
            Delivery::Nothing => self.limit = MAX_BATCH,
        }
        Ok(if delivered == Delivery::Nothing { Next::Interval } else { Next::Now })
    }
}

#[async_trait]
impl Work for Housekeeping {
    async fn run(&mut self) -> Result<Next, Failure> {
        self.once().await?;
        Ok(Next::Interval)
    }
}

/// Reports to head office how far the audit reaches.
struct AuditHead {
    app: Arc<App>,
    reported: Option<Head>,
}

#[async_trait]
impl Work for AuditHead {
    async fn run(&mut self) -> Result<Next, Failure> {
        if audit_head::once(&self.app.pool, self.app.clock.now(), &mut self.reported).await? {
            self.app.signals.relay.notify_one();
        }
        Ok(Next::Interval)
    }
}

/// Reports to head office which terminals are denied, once.
struct Denials {
    app: Arc<App>,
    are_reported: bool,
}

#[async_trait]
impl Work for Denials {
    async fn run(&mut self) -> Result<Next, Failure> {
        if !self.are_reported {
            if denials::report_all(&self.app.pool).await? > 0 {
                self.app.signals.relay.notify_one();
            }
            self.are_reported = true;
        }
        Ok(Next::Interval)
    }
}

/// Reports the room in the store to head office.
struct Room {
    app: Arc<App>,
    reported: room_report::Reported,
}

#[async_trait]
impl Work for Room {
    async fn run(&mut self) -> Result<Next, Failure> {
        room_report::once(&self.app.artifacts, &mut self.reported).await?;
        Ok(Next::Interval)
    }
}
