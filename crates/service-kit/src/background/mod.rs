//! Background work: each task has a name, a trigger, a bounded interval and a last result that operators can read.
//!
//! A program makes one [`Board`], gives it to its metrics and its `status` answer, and starts its tasks by one [`Driver`]:
//!
//! ```
//! # use std::sync::Arc;
//! # use std::time::Duration;
//! # use service_kit::background::{Board, Driver, Next, Task, work};
//! # use service_kit::{Shutdown, SystemClock};
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! let (board, shutdown) = (Board::default(), Shutdown::new());
//! let wanted = Arc::new(tokio::sync::Notify::new());
//! let mut driver = Driver::new(board.clone(), Arc::new(SystemClock), shutdown.clone());
//! let task = Task::every("retention", Duration::from_secs(600))
//!     .woken_by(wanted.clone())
//!     .retry(Duration::from_millis(500), Duration::from_secs(60));
//! driver.start(task, work(|| async { Ok::<_, std::io::Error>(Next::Interval) }));
//! wanted.notify_one();
//! tokio::task::yield_now().await;
//! assert_eq!(board.list()[0].name, "retention");
//! shutdown.stop();
//! driver.ended().await;
//! # }
//! ```

mod board;
#[cfg(feature = "server")]
mod metrics;
#[cfg(test)]
mod tests;
mod timer;

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::Notify;
use tokio::task::{JoinError, JoinSet};

pub use board::Board;
use board::Entry;
use timer::{Real, Timer};

use crate::retry::Backoff;
use crate::{Clock, Shutdown, edge};

/// Describes a task: its name, when it runs, and how it waits.
#[derive(Debug, Clone)]
pub struct Task {
    name: &'static str,
    interval: Duration,
    jitter: f64,
    retry: (Duration, Duration),
    trigger: Option<Arc<Notify>>,
    woken_in_backoff: bool,
    pause: Duration,
}

impl Task {
    /// Describes a task that runs at start and then at least once per `interval`; failures are retried at `interval`, too.
    ///
    /// The name is a stable label of metrics and `status`: short, in kebab case.
    pub const fn every(name: &'static str, interval: Duration) -> Self {
        Self {
            name,
            interval,
            jitter: 0.0,
            retry: (interval, interval),
            trigger: None,
            woken_in_backoff: true,
            pause: Duration::ZERO,
        }
    }

    /// Also runs when notified. A notification during a run causes one more run.
    #[must_use]
    pub fn woken_by(mut self, trigger: Arc<Notify>) -> Self {
        self.trigger = Some(trigger);
        self
    }

    /// Ignores the trigger for this long after each run; notifications of that time cause one run at its end.
    ///
    /// What senders outside can cause must not drive a task without pause.
    #[must_use]
    pub const fn at_most_every(mut self, pause: Duration) -> Self {
        self.pause = pause;
        self
    }

    /// Shortens each wait at random by up to this share of the interval, so that a fleet does not act in step.
    #[must_use]
    pub const fn jitter(mut self, share: f64) -> Self {
        self.jitter = share.clamp(0.0, 1.0);
        self
    }

    /// Retries failures with exponential backoff and full jitter, the bound growing from `min` to `max`.
    #[must_use]
    pub const fn retry(mut self, min: Duration, max: Duration) -> Self {
        self.retry = (min, max);
        self
    }

    /// Ignores the trigger while it waits after a failure: a notification does not bring back what is unavailable.
    #[must_use]
    pub const fn not_woken_in_backoff(mut self) -> Self {
        self.woken_in_backoff = false;
        self
    }

    fn wait(&self) -> Duration {
        self.interval.mul_f64(1.0 - self.jitter * rand::random::<f64>())
    }
}

/// When a task runs next after a success. The trigger ends every wait early.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Next {
    /// After the interval, shortened by the jitter.
    #[default]
    Interval,
    /// At once: more work is waiting.
    Now,
    /// After this time, but not later than the interval.
    After(Duration),
}

/// Why a run failed, and how that is treated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    text: String,
    is_expected: bool,
    retry: Option<Duration>,
}

impl Failure {
    /// Makes a failure of one sentence for people.
    pub fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), is_expected: false, retry: None }
    }

    /// Marks it as expected, such as "not enrolled yet": logged at debug level only.
    #[must_use]
    pub fn expected(self) -> Self {
        Self { is_expected: true, ..self }
    }

    /// Retries after exactly this time, woken by the trigger, without growing the backoff.
    #[must_use]
    pub fn retry_after(self, wait: Duration) -> Self {
        Self { retry: Some(wait), ..self }
    }
}

impl<E: Error> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::new(edge::chain(&error))
    }
}

/// What a task does. Safe to run twice, and to be dropped at any await unless it says otherwise.
#[async_trait]
pub trait Work: Send + 'static {
    /// Runs once and tells when to run next.
    ///
    /// # Errors
    /// Why it did not succeed; it is retried.
    async fn run(&mut self) -> Result<Next, Failure>;

    /// Whether shutdown may drop the next run at an await. If not, shutdown waits for the run's end.
    fn may_be_dropped(&self) -> bool {
        true
    }

    /// Called after the first success that follows `failures` failed runs.
    async fn recovered(&mut self, failures: u32) {
        let _ = failures;
    }
}

/// Makes [`Work`] of an async closure without state of its own.
pub fn work<F, R, E>(run: F) -> impl Work
where
    F: FnMut() -> R + Send + 'static,
    R: Future<Output = Result<Next, E>> + Send + 'static,
    E: Into<Failure> + Send + 'static,
{
    WorkFn(run)
}

struct WorkFn<F>(F);

#[async_trait]
impl<F, R, E> Work for WorkFn<F>
where
    F: FnMut() -> R + Send + 'static,
    R: Future<Output = Result<Next, E>> + Send + 'static,
    E: Into<Failure> + Send + 'static,
{
    async fn run(&mut self) -> Result<Next, Failure> {
        (self.0)().await.map_err(Into::into)
    }
}

/// Runs a program's tasks until shutdown, each on its own.
pub struct Driver {
    board: Board,
    clock: Arc<dyn Clock>,
    timer: Arc<dyn Timer>,
    shutdown: Shutdown,
    running: JoinSet<()>,
}

impl Driver {
    /// Makes a driver without tasks. Results are recorded on `board` with `clock`'s time.
    pub fn new(board: Board, clock: Arc<dyn Clock>, shutdown: Shutdown) -> Self {
        Self { board, clock, timer: Arc::new(Real::default()), shutdown, running: JoinSet::new() }
    }

    /// Starts a task. Its first run begins at once.
    pub fn start(&mut self, task: Task, work: impl Work) {
        let entry = self.board.add(task.name, task.interval);
        let (clock, timer, shutdown) = (self.clock.clone(), self.timer.clone(), self.shutdown.clone());
        let running = Running { task, entry, clock, timer, shutdown };
        self.running.spawn(running.drive(work));
    }

    /// Waits for the next task to end: after shutdown, or because it panicked. `None` if all have ended.
    pub async fn next_ended(&mut self) -> Option<Result<(), JoinError>> {
        self.running.join_next().await
    }

    /// Waits for all tasks to end, after shutdown.
    pub async fn ended(mut self) {
        while let Some(ended) = self.next_ended().await {
            if let Err(error) = ended {
                tracing::error!(%error, "a background task panicked");
            }
        }
    }
}

struct Running {
    task: Task,
    entry: Arc<Entry>,
    clock: Arc<dyn Clock>,
    timer: Arc<dyn Timer>,
    shutdown: Shutdown,
}

impl Running {
    async fn drive(self, mut work: impl Work) {
        let mut retry = Retry { backoff: Backoff::new(self.task.retry.0, self.task.retry.1), said: String::new() };
        while !self.shutdown.is_stopping() {
            self.entry.begin();
            let began = self.timer.now();
            let ended = match work.may_be_dropped() {
                true => tokio::select! {
                    () = self.shutdown.stopped() => None,
                    ended = work.run() => Some(ended),
                },
                false => Some(work.run().await),
            };
            let Some(ended) = ended else { return };
            let took = self.timer.now().saturating_sub(began);
            self.entry.end(self.clock.now(), took, ended.as_ref().err().map(|f| f.text.as_str()));
            let (wait, is_woken) = match ended {
                Ok(next) => {
                    let failures = retry.succeeded(self.task.name);
                    if failures > 0 {
                        work.recovered(failures).await;
                    }
                    (next, true)
                }
                Err(failure) => {
                    let is_woken = self.task.woken_in_backoff || failure.retry.is_some();
                    (Next::After(retry.failed(self.task.name, failure)), is_woken)
                }
            };
            self.rest(wait, is_woken).await;
        }
    }

    async fn rest(&self, next: Next, is_woken: bool) {
        let wait = match next {
            Next::Now => return tokio::task::yield_now().await,
            Next::Interval => self.task.wait(),
            Next::After(wait) => wait.min(self.task.interval.max(self.task.retry.1)),
        };
        let woken = async {
            match &self.task.trigger {
                Some(trigger) if is_woken => {
                    if !self.task.pause.is_zero() {
                        self.timer.sleep(self.task.pause).await;
                    }
                    trigger.notified().await;
                }
                _ => std::future::pending().await,
            }
        };
        tokio::select! {
            () = self.shutdown.stopped() => {}
            () = self.timer.sleep(wait) => {}
            () = woken => {}
        }
    }
}

/// Failures in a row: how long to wait, and what the log said already.
struct Retry {
    backoff: Backoff,
    said: String,
}

impl Retry {
    /// Ends a series of failures; answers how many there were.
    fn succeeded(&mut self, task: &str) -> u32 {
        let failures = self.backoff.failures();
        if !self.said.is_empty() {
            tracing::info!(task, failures, "background task succeeded again");
            self.said.clear();
        }
        self.backoff.reset();
        failures
    }

    /// Notes a failure; answers how long to wait. The same failure is a warning once, not at every retry.
    fn failed(&mut self, task: &str, failure: Failure) -> Duration {
        let Failure { text, is_expected, retry } = failure;
        if is_expected || text == self.said {
            tracing::debug!(task, error = text, "background task failed; retrying");
        } else {
            tracing::warn!(task, error = text, "background task failed; retrying");
            self.said = text;
        }
        retry.unwrap_or_else(|| self.backoff.next())
    }
}
