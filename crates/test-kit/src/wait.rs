//! Waiting by condition with a deadline, never by time.

use std::fmt::Display;
use std::time::{Duration, Instant};

const POLL: Duration = Duration::from_millis(25);

/// Polls `condition` until it answers `Ok`.
///
/// Its `Err` says how things stand, for the message of a failure.
///
/// # Panics
/// The deadline passed: with `what` and the last state.
pub async fn wait_for<T, E: Display>(
    what: &str,
    deadline: Duration,
    mut condition: impl AsyncFnMut() -> Result<T, E>,
) -> T {
    let begin = Instant::now();
    loop {
        match condition().await {
            Ok(value) => return value,
            Err(state) if begin.elapsed() > deadline => {
                panic!("waited {} s for {what}; last state: {state}", deadline.as_secs())
            }
            Err(_) => tokio::time::sleep(POLL).await,
        }
    }
}

/// [`wait_for`] without async.
///
/// # Panics
/// As [`wait_for`].
#[expect(clippy::disallowed_methods, reason = "this is the one place that polls")]
pub fn wait_for_blocking<T, E: Display>(
    what: &str,
    deadline: Duration,
    mut condition: impl FnMut() -> Result<T, E>,
) -> T {
    let begin = Instant::now();
    loop {
        match condition() {
            Ok(value) => return value,
            Err(state) if begin.elapsed() > deadline => {
                panic!("waited {} s for {what}; last state: {state}", deadline.as_secs())
            }
            Err(_) => std::thread::sleep(POLL),
        }
    }
}
