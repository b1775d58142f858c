//! Measures and waits, so that tests can run in virtual time.

use std::time::Duration;

use async_trait::async_trait;

use crate::clock::Stopwatch;

/// Measures and waits.
#[async_trait]
pub(super) trait Timer: Send + Sync {
    /// Returns the time since a fixed moment.
    fn now(&self) -> Duration;

    /// Waits.
    async fn sleep(&self, time: Duration);
}

/// Real time.
pub(super) struct Real(Stopwatch);

impl Default for Real {
    fn default() -> Self {
        Self(Stopwatch::start())
    }
}

#[async_trait]
impl Timer for Real {
    fn now(&self) -> Duration {
        self.0.elapsed()
    }

    async fn sleep(&self, time: Duration) {
        tokio::time::sleep(time).await;
    }
}
