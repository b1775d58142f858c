//! Blocking work with progress that people see while it runs.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use service_kit::clock::Stopwatch;
use service_kit::database::{DatabaseError, JobContext, JobError, connection};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use wire::v1::releases::Progress;

use crate::db;

/// How often progress is stored.
const STORE_EVERY: Duration = Duration::from_millis(500);

/// What blocking work tells and is told.
#[derive(Debug)]
pub struct Meter {
    done: AtomicU64,
    /// What was done before this run, and so says nothing about its rate.
    resumed: AtomicU64,
    stop: CancellationToken,
}

impl Meter {
    /// So much is done, of which an earlier run did `resumed`.
    pub fn set(&self, done: u64, resumed: u64) {
        self.resumed.store(resumed, Ordering::Relaxed);
        self.done.store(done, Ordering::Relaxed);
    }

    /// How much an earlier run had done.
    pub fn resumed(&self) -> u64 {
        self.resumed.load(Ordering::Relaxed)
    }

    /// Whether to stop.
    pub fn is_cancelled(&self) -> bool {
        self.stop.is_cancelled()
    }
}

/// Runs blocking `work` and stores its progress meanwhile, as step `step` of `release`.
///
/// `total` is in bytes.
///
/// # Errors
/// The thread failed. What the work answers is the caller's to judge.
pub async fn measured<T: Send + 'static>(
    context: &JobContext,
    release: Uuid,
    step: &str,
    total: u64,
    work: impl FnOnce(&Meter) -> T + Send + 'static,
) -> Result<T, JobError> {
    let meter =
        Arc::new(Meter { done: AtomicU64::new(0), resumed: AtomicU64::new(0), stop: context.cancelled.child_token() });
    // If this future is dropped, the thread is told to stop.
    let _stop = meter.stop.clone().drop_guard();
    let begin = Stopwatch::start();
    let running = meter.clone();
    let mut thread = tokio::task::spawn_blocking(move || work(&running));
    loop {
        let progress = estimate(step, &meter, total, begin.elapsed());
        match store(context, release, &progress).await {
            Ok(true) => {}
            // Withdrawn meanwhile: the work is not needed.
            Ok(false) => meter.stop.cancel(),
            Err(error) => tracing::debug!(%error, "progress is not stored"),
        }
        tokio::select! {
            answer = &mut thread => {
                return answer.map_err(|e| JobError::Retry(format!("the worker of step {step} failed: {e}")));
            }
            () = tokio::time::sleep(STORE_EVERY) => {}
        }
    }
}

/// Stores a step of which no more is known than that it is being done.
///
/// # Errors
/// The database failed.
pub(super) async fn announce(
    context: &JobContext,
    release: Uuid,
    step: &str,
    done: u64,
    total: u64,
) -> Result<(), JobError> {
    let progress = Progress { step: step.to_owned(), done, total, unit: "steps".to_owned(), seconds_left: None };
    Ok(store(context, release, &progress).await.map(drop)?)
}

async fn store(context: &JobContext, release: Uuid, progress: &Progress) -> Result<bool, DatabaseError> {
    let client = connection(&context.pool).await?;
    db::releases::set_progress(&client, release, Some(progress)).await
}

fn estimate(step: &str, meter: &Meter, total: u64, elapsed: Duration) -> Progress {
    let done = meter.done.load(Ordering::Relaxed).min(total);
    let fresh = done.saturating_sub(meter.resumed());
    // A first guess from nothing would be wild.
    let known = fresh > 0 && elapsed >= Duration::from_secs(1);
    let seconds_left = known.then(|| {
        let rate = fresh as f64 / elapsed.as_secs_f64();
        ((total - done) as f64 / rate).ceil() as u64
    });
    Progress { step: step.to_owned(), done, total, unit: "bytes".to_owned(), seconds_left }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_remaining_time_leaves_out_what_an_earlier_run_did() {
        let meter = Meter { done: 600.into(), resumed: 500.into(), stop: CancellationToken::new() };
        let progress = estimate("encoding", &meter, 1000, Duration::from_secs(10));
        assert_eq!((progress.done, progress.seconds_left), (600, Some(40)));
        let early = estimate("encoding", &meter, 1000, Duration::from_millis(10));
        assert_eq!(early.seconds_left, None);
    }
}
