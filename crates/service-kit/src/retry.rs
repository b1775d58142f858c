//! Waiting longer after each failure, at random, so that a fleet does not come back in step.

use std::time::Duration;

/// Exponential backoff with full jitter: each wait is random between nothing and a bound that doubles up to `max`.
#[derive(Debug, Clone)]
pub struct Backoff {
    min: Duration,
    max: Duration,
    failures: u32,
}

impl Backoff {
    /// The first bound is `min`; no bound exceeds `max`.
    pub const fn new(min: Duration, max: Duration) -> Self {
        Self { min, max, failures: 0 }
    }

    /// How long to wait after one more failure.
    #[expect(clippy::should_implement_trait, reason = "an endless series; nobody collects it")]
    pub fn next(&mut self) -> Duration {
        let bound = self.bound();
        self.failures = self.failures.saturating_add(1);
        bound.mul_f64(rand::random::<f64>())
    }

    /// The longest that [`Backoff::next`] would answer now.
    pub fn bound(&self) -> Duration {
        self.min.saturating_mul(1 << self.failures.min(20)).min(self.max)
    }

    /// Failures since the last reset.
    pub const fn failures(&self) -> u32 {
        self.failures
    }

    /// Something worked: begin again at `min`.
    pub const fn reset(&mut self) {
        self.failures = 0;
    }
}

/// The bound after `attempts` failures, without jitter: for work whose attempts are counted elsewhere.
pub fn bound_after(attempts: u32, min: Duration, max: Duration) -> Duration {
    Backoff { min, max, failures: attempts.saturating_sub(1) }.bound()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_the_maximum_and_begin_again() {
        let (min, max) = (Duration::from_secs(1), Duration::from_secs(60));
        let mut backoff = Backoff::new(min, max);
        for expected in [1, 2, 4, 8, 16, 32, 60, 60] {
            assert_eq!(backoff.bound(), Duration::from_secs(expected));
            assert!(backoff.next() <= Duration::from_secs(expected));
        }
        backoff.reset();
        assert_eq!(backoff.bound(), min);
        assert_eq!(bound_after(3, min, max), Duration::from_secs(4));
    }

    #[test]
    fn endless_failure_does_not_overflow() {
        let mut backoff = Backoff { min: Duration::from_secs(1), max: Duration::MAX, failures: u32::MAX };
        let _ = backoff.next();
        assert_eq!(backoff.failures(), u32::MAX);
    }
}
