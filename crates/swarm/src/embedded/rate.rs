//! Rates of sending and receiving: pure, with the time as an argument.
//!
//! Each connection reserves one block at a time and waits for its turn before it reserves the next, so connections share
//! a rate block by block, whatever they ask for.

use std::time::Duration;

/// Bytes that may pass at once after a pause, as time at the full rate.
const BURST: Duration = Duration::from_millis(50);

/// One rate. Unlimited until it is set.
#[derive(Debug, Clone, Default)]
pub(crate) struct Bucket {
    /// Bytes a second.
    rate: Option<u64>,
    /// When the next byte may pass.
    free_at: Duration,
}

impl Bucket {
    /// Reserves `bytes` and returns how long to wait before they may pass. If the rate changes meanwhile, reserve again.
    pub(crate) fn reserve(&mut self, bytes: u64, now: Duration) -> Duration {
        let Some(rate) = self.rate else { return Duration::ZERO };
        let begin = self.free_at.max(now.saturating_sub(BURST));
        self.free_at = begin + time_of(bytes, rate);
        begin.saturating_sub(now)
    }

    /// Sets the rate in bytes a second. What was reserved before no longer counts. A rate of 0 is taken as 1.
    pub(crate) fn set(&mut self, rate: Option<u64>, now: Duration) {
        let rate = rate.map(|rate| rate.max(1));
        if rate != self.rate {
            self.rate = rate;
            self.free_at = now;
        }
    }
}

fn time_of(bytes: u64, rate: u64) -> Duration {
    let nanos = u128::from(bytes) * 1_000_000_000 / u128::from(rate);
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX / 2))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const BLOCK: u64 = 16 * 1024;

    #[test]
    fn a_bucket_without_a_rate_never_waits() {
        let mut bucket = Bucket::default();
        assert_eq!(bucket.reserve(u64::MAX, Duration::ZERO), Duration::ZERO);
    }

    #[test]
    fn a_changed_rate_voids_what_was_reserved() {
        let mut bucket = Bucket::default();
        bucket.set(Some(1), Duration::ZERO);
        bucket.reserve(BLOCK, Duration::ZERO);
        assert_eq!(bucket.reserve(BLOCK, Duration::ZERO), Duration::from_secs(BLOCK));
        bucket.set(Some(1_000_000), Duration::from_secs(1));
        assert_eq!(bucket.reserve(BLOCK, Duration::from_secs(1)), Duration::ZERO);
        bucket.set(Some(0), Duration::from_secs(3));
        bucket.reserve(2, Duration::from_secs(3));
        assert_eq!(bucket.reserve(1, Duration::from_secs(3)), Duration::from_secs(2), "zero is one byte a second");
    }

    proptest! {
        /// Connections that always want more get the rate and no more, in equal shares.
        #[test]
        fn connections_share_a_rate_equally(rate in 100_000u64..100_000_000, count in 1usize..20) {
            let mut bucket = Bucket::default();
            bucket.set(Some(rate), Duration::ZERO);
            // When each connection's last block passed, and how many it had.
            let mut turns: Vec<(Duration, u64)> = vec![(Duration::ZERO, 0); count];
            for _ in 0..count * 50 {
                let next = (0..count).min_by_key(|n| (turns[*n].0, turns[*n].1)).unwrap();
                let now = turns[next].0;
                let wait = bucket.reserve(BLOCK, now);
                turns[next] = (now + wait, turns[next].1 + 1);
            }
            let blocks: Vec<u64> = turns.iter().map(|turn| turn.1).collect();
            let (least, most) = (blocks.iter().min().unwrap(), blocks.iter().max().unwrap());
            prop_assert!(most - least <= 2, "{blocks:?}");
            let passed: u64 = blocks.iter().sum::<u64>() * BLOCK;
            let end = turns.iter().map(|turn| turn.0).max().unwrap();
            let allowed = (rate as f64 * (end + BURST).as_secs_f64()) as u64 + BLOCK * 2;
            prop_assert!(passed <= allowed, "{passed} of {allowed} bytes");
        }
    }
}
