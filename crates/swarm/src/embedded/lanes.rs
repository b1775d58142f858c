//! The rates of one engine, to and from the WAN and the LAN apart, as connections wait for them.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use service_kit::clock::Stopwatch;
use tokio::sync::Notify;
use tokio::time::sleep;

use super::rate::Bucket;
use crate::Limits;

/// One direction of one side.
#[derive(Debug, Default)]
pub(crate) struct Lane {
    bucket: Mutex<Bucket>,
    changed: Notify,
}

impl Lane {
    /// Waits until `bytes` may pass. `now` is time since the engine started.
    pub(crate) async fn pass(&self, bytes: u64, clock: &Stopwatch) {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let wait = self.with(|bucket| bucket.reserve(bytes, clock.elapsed()));
            if wait.is_zero() {
                return;
            }
            tokio::select! {
                () = sleep(wait) => return,
                () = changed => {}
            }
        }
    }

    fn set(&self, rate: Option<u64>, now: Duration) {
        self.with(|bucket| bucket.set(rate, now));
        self.changed.notify_waiters();
    }

    fn with<T>(&self, ask: impl FnOnce(&mut Bucket) -> T) -> T {
        ask(&mut self.bucket.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Both directions of one side.
#[derive(Debug, Default)]
pub(crate) struct Lanes {
    pub(crate) down: Lane,
    pub(crate) up: Lane,
}

impl Lanes {
    /// Changes the rates. What waits now waits by the new ones.
    pub(crate) fn set(&self, limits: Limits, now: Duration) {
        self.down.set(limits.down, now);
        self.up.set(limits.up, now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_wait_for_a_tiny_rate_ends_when_the_rate_is_raised() {
        let (lanes, clock) = (Lanes::default(), Stopwatch::start());
        lanes.set(Limits { down: None, up: Some(1) }, clock.elapsed());
        lanes.up.pass(1 << 20, &clock).await;
        // At one byte a second this would take twelve days.
        let waiting = lanes.up.pass(1 << 20, &clock);
        tokio::pin!(waiting);
        assert!(tokio::time::timeout(Duration::from_millis(1), &mut waiting).await.is_err());
        lanes.set(Limits::default(), clock.elapsed());
        waiting.await;
    }
}
