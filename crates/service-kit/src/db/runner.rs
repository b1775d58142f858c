//! Runs jobs: claims, keeps the lease while a handler works, and settles the outcome.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chrono::TimeDelta;
use deadpool_postgres::Pool;
use serde::Serialize;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::jobs::{self, Job};
use super::{DatabaseError, Wakeups, connection};
use crate::retry::{Backoff, bound_after};
use crate::{Clock, Shutdown};

/// How jobs are held and repeated.
#[derive(Debug, Clone, Copy)]
pub struct RunnerSettings {
    /// How long a claim holds without renewal. A killed worker's job waits at most this long.
    pub lease: Duration,
    /// The wait after the first failure.
    pub backoff_min: Duration,
    /// The longest wait between failures.
    pub backoff_max: Duration,
}

impl Default for RunnerSettings {
    fn default() -> Self {
        Self {
            lease: Duration::from_secs(30),
            backoff_min: Duration::from_secs(1),
            backoff_max: Duration::from_secs(300),
        }
    }
}

/// How a job did not succeed.
#[derive(Debug)]
pub enum JobError {
    /// It may succeed later: repeated with backoff. One sentence for people.
    Retry(String),
    /// It can never succeed: closed. One sentence for people.
    GiveUp(String),
    /// The worker stops or lost its lease: nothing failed.
    Interrupted,
}

impl From<DatabaseError> for JobError {
    fn from(error: DatabaseError) -> Self {
        Self::Retry(crate::edge::chain(&error))
    }
}

/// Does the jobs of one kind. Safe to run twice: every step looks at what is there already.
#[async_trait]
pub trait JobHandler: Send + Sync {
    /// The kind.
    fn kind(&self) -> &'static str;

    /// Does it, from wherever an earlier attempt left off.
    ///
    /// # Errors
    /// As [`JobError`].
    async fn run(&self, context: &JobContext) -> Result<(), JobError>;

    /// The attempt failed, with a sentence; `last` if there will be no other. To make it visible to people.
    async fn failed(&self, _context: &JobContext, _failure: &str, _last: bool) -> Result<(), DatabaseError> {
        Ok(())
    }
}

/// A claimed job in the hands of its handler.
pub struct JobContext {
    /// The job as it was claimed.
    pub job: Job,
    /// Who holds it.
    pub owner: Uuid,
    /// The database.
    pub pool: Pool,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Triggered at shutdown and when the lease is lost: stop soon, the next worker continues.
    pub cancelled: CancellationToken,
}

impl JobContext {
    /// Stores the job's progress.
    ///
    /// # Errors
    /// The database failed, or the lease was lost ([`JobError::Interrupted`]).
    pub async fn save_state(&self, state: &impl Serialize) -> Result<(), JobError> {
        let client = connection(&self.pool).await?;
        if jobs::save_state(&client, self.job.id, self.owner, state).await? {
            Ok(())
        } else {
            Err(JobError::Interrupted)
        }
    }

    /// [`JobError::Interrupted`] once the handler should stop.
    ///
    /// # Errors
    /// As said.
    pub fn check(&self) -> Result<(), JobError> {
        if self.cancelled.is_cancelled() { Err(JobError::Interrupted) } else { Ok(()) }
    }
}

/// How long a handler may take to stop of its own accord before it is dropped.
const WIND_DOWN: Duration = Duration::from_secs(10);

/// Asks the handler to stop, so that blocking work of its ends before another worker begins the same; then drops it,
/// which it survives as it survives kill -9.
async fn wind_down(run: impl Future<Output = Result<(), JobError>>, context: &JobContext) -> Result<(), JobError> {
    context.cancelled.cancel();
    match tokio::time::timeout(WIND_DOWN, run).await {
        Ok(Ok(())) => Ok(()),
        _ => Err(JobError::Interrupted),
    }
}

/// Runs the handlers' jobs until shutdown, one job of a kind at a time.
#[derive(Clone)]
pub struct Runner {
    /// The database.
    pub pool: Pool,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// The name under which leases are held.
    pub owner: Uuid,
    /// Leases and backoff.
    pub settings: RunnerSettings,
}

impl Runner {
    /// Starts a task for each handler. Await the tasks after shutdown, so that leases are released.
    pub fn spawn(
        &self,
        handlers: Vec<Arc<dyn JobHandler>>,
        wakeups: &Wakeups,
        shutdown: &Shutdown,
    ) -> Vec<tokio::task::JoinHandle<()>> {
        handlers
            .into_iter()
            .map(|handler| {
                let (runner, wakeups, shutdown) = (self.clone(), wakeups.clone(), shutdown.clone());
                tokio::spawn(async move { runner.run(&*handler, &wakeups, &shutdown).await })
            })
            .collect()
    }

    async fn run(&self, handler: &dyn JobHandler, wakeups: &Wakeups, shutdown: &Shutdown) {
        let mut woken = wakeups.subscribe();
        let mut backoff = Backoff::new(Duration::from_millis(250), Duration::from_secs(10));
        while !shutdown.is_stopping() {
            match self.run_one(handler, shutdown.token()).await {
                Ok(true) => backoff.reset(),
                Ok(false) => {
                    backoff.reset();
                    tokio::select! {
                        // The sender lives as long as `wakeups`, so this cannot spin.
                        _ = woken.changed() => {}
                        () = shutdown.stopped() => {}
                    }
                }
                Err(error) => {
                    tracing::warn!(kind = handler.kind(), error = %crate::edge::chain(&error), "jobs cannot be claimed");
                    shutdown.wait(backoff.next()).await;
                }
            }
        }
    }

    /// Runs one due job of the handler's kind; false if no job is due.
    ///
    /// # Errors
    /// The database failed before or after the job.
    pub async fn run_one(&self, handler: &dyn JobHandler, stop: &CancellationToken) -> Result<bool, DatabaseError> {
        let now = self.clock.now();
        let claimed = {
            let client = connection(&self.pool).await?;
            jobs::claim(&client, self.owner, &[handler.kind()], now, now + self.lease()).await?
        };
        let Some(job) = claimed else { return Ok(false) };
        tracing::info!(kind = job.kind, subject = job.subject, attempt = job.attempts, "job begins");
        let context = JobContext {
            job,
            owner: self.owner,
            pool: self.pool.clone(),
            clock: self.clock.clone(),
            cancelled: stop.child_token(),
        };
        let run = handler.run(&context);
        tokio::pin!(run);
        let outcome = tokio::select! {
            outcome = &mut run => outcome,
            () = self.keep(&context) => wind_down(run, &context).await,
            () = stop.cancelled() => wind_down(run, &context).await,
        };
        self.settle(handler, &context, outcome).await?;
        Ok(true)
    }

    /// Renews the lease; returns when it is lost.
    async fn keep(&self, context: &JobContext) {
        loop {
            tokio::time::sleep(self.settings.lease / 3).await;
            let renewed = match connection(&self.pool).await {
                Ok(client) => jobs::renew(&client, context.job.id, self.owner, self.clock.now() + self.lease()).await,
                Err(error) => Err(error),
            };
            match renewed {
                Ok(true) => {}
                Ok(false) => {
                    tracing::warn!(kind = context.job.kind, subject = context.job.subject, "lease lost");
                    return;
                }
                // The lease may still hold: the handler's next write to the job decides.
                Err(error) => tracing::warn!(error = %crate::edge::chain(&error), "lease not renewed"),
            }
        }
    }

    async fn settle(
        &self,
        handler: &dyn JobHandler,
        context: &JobContext,
        outcome: Result<(), JobError>,
    ) -> Result<(), DatabaseError> {
        let (id, now) = (context.job.id, self.clock.now());
        let (kind, subject) = (&context.job.kind, &context.job.subject);
        match outcome {
            Ok(()) => {
                let client = connection(&self.pool).await?;
                jobs::finish(&client, id, self.owner, now).await?;
                tracing::info!(kind, subject, "job done");
            }
            Err(JobError::Interrupted) => {
                let client = connection(&self.pool).await?;
                jobs::release(&client, id, self.owner).await?;
                tracing::info!(kind, subject, "job put back");
            }
            Err(JobError::Retry(failure)) => {
                let RunnerSettings { backoff_min, backoff_max, .. } = self.settings;
                let wait = bound_after(context.job.attempts, backoff_min, backoff_max);
                tracing::warn!(
                    kind,
                    subject,
                    failure,
                    wait_seconds = wait.as_secs(),
                    "job failed; it will be repeated"
                );
                handler.failed(context, &failure, false).await?;
                let client = connection(&self.pool).await?;
                let not_before = now + TimeDelta::from_std(wait).unwrap_or(TimeDelta::MAX);
                jobs::fail_with_backoff(&client, id, self.owner, &failure, not_before).await?;
            }
            Err(JobError::GiveUp(failure)) => {
                tracing::error!(kind, subject, failure, "job failed for good");
                handler.failed(context, &failure, true).await?;
                let client = connection(&self.pool).await?;
                jobs::give_up(&client, id, self.owner, now, &failure).await?;
            }
        }
        Ok(())
    }

    fn lease(&self) -> TimeDelta {
        TimeDelta::from_std(self.settings.lease).unwrap_or(TimeDelta::seconds(30))
    }
}
