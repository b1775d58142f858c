//! Counts of what was refused, in bounded memory: so that nothing can be guessed by trying often.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Most keys that are told apart. Beyond it all others share one count.
pub const MAX_KEYS: usize = 10_000;

/// Counts refusals by key. Clones share the counts.
#[derive(Debug)]
pub struct Tries<K> {
    counts: Arc<Mutex<Counts<K>>>,
    allowed: u32,
    forgiven_after: Duration,
}

#[derive(Debug)]
struct Counts<K> {
    known: HashMap<K, Count>,
    others: Option<Count>,
}

#[derive(Debug, Clone, Copy)]
struct Count {
    /// So many are held against the key …
    refused: u32,
    /// … as of then.
    at: Instant,
}

impl Count {
    fn now(self, now: Instant, forgiven_after: Duration) -> Self {
        let forgiven = now.saturating_duration_since(self.at).as_millis() / forgiven_after.as_millis().max(1);
        let forgiven = u32::try_from(forgiven).unwrap_or(u32::MAX);
        Self { refused: self.refused.saturating_sub(forgiven), at: self.at + forgiven_after * forgiven.min(1 << 20) }
    }
}

impl<K> Clone for Tries<K> {
    fn clone(&self) -> Self {
        Self { counts: self.counts.clone(), ..*self }
    }
}

impl<K: Eq + Hash> Tries<K> {
    /// Each key may fail `allowed` times at once; one failure is forgotten after each `forgiven_after`.
    pub fn new(allowed: u32, forgiven_after: Duration) -> Self {
        let counts = Counts { known: HashMap::new(), others: None };
        Self { counts: Arc::new(Mutex::new(counts)), allowed, forgiven_after }
    }

    /// How long this key has to wait; none if it may try.
    pub fn must_wait(&self, key: &K, now: Instant) -> Option<Duration> {
        self.wait(&self.counts(), key, now)
    }

    fn counts(&self) -> MutexGuard<'_, Counts<K>> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait(&self, counts: &Counts<K>, key: &K, now: Instant) -> Option<Duration> {
        let full = counts.known.len() >= MAX_KEYS;
        let count = counts.known.get(key).or(counts.others.as_ref().filter(|_| full))?;
        (count.now(now, self.forgiven_after).refused >= self.allowed).then_some(self.forgiven_after)
    }

    /// Counts one try against the key before it is judged, so that tries at the same time stay within what is allowed.
    ///
    /// # Errors
    /// How long this key has to wait; nothing is counted then.
    pub fn begin(&self, key: K, now: Instant) -> Result<(), Duration>
    where
        K: Clone,
    {
        let mut counts = self.counts();
        if let Some(wait) = self.wait(&counts, &key, now) {
            return Err(wait);
        }
        self.count(&mut counts, key, 1, now);
        Ok(())
    }

    /// One more was refused, or begins and is to count until it has succeeded.
    pub fn refused(&self, key: K, now: Instant) {
        self.add(key, 1, now);
    }

    /// Counts `more` against the key; zero changes nothing.
    pub fn add(&self, key: K, more: u32, now: Instant) {
        if more > 0 {
            self.count(&mut self.counts(), key, more, now);
        }
    }

    fn count(&self, counts: &mut Counts<K>, key: K, more: u32, now: Instant) {
        if counts.known.len() >= MAX_KEYS {
            counts.known.retain(|_, count| count.now(now, self.forgiven_after).refused > 0);
        }
        let fresh = Count { refused: 0, at: now };
        let full = counts.known.len() >= MAX_KEYS && !counts.known.contains_key(&key);
        let count = if full { counts.others.get_or_insert(fresh) } else { counts.known.entry(key).or_insert(fresh) };
        *count = count.now(now, self.forgiven_after);
        count.refused = count.refused.saturating_add(more);
    }

    /// It succeeded after all: one less is held against the key.
    pub fn forgive(&self, key: &K) {
        let mut counts = self.counts();
        let Counts { known, others } = &mut *counts;
        if let Some(count) = known.get_mut(key).or(others.as_mut()) {
            count.refused = count.refused.saturating_sub(1);
        }
    }

    /// It succeeded: nothing is held against the key any more.
    pub fn forget(&self, key: &K) {
        self.counts().known.remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEP: Duration = Duration::from_secs(1);

    #[test]
    fn a_key_waits_after_its_tries_and_another_does_not() {
        let (tries, now) = (Tries::new(3, STEP), Instant::now());
        for _ in 0..3 {
            assert_eq!(tries.must_wait(&1, now), None);
            tries.refused(1, now);
        }
        assert!(tries.must_wait(&1, now).is_some() && tries.must_wait(&2, now).is_none());
        assert_eq!(tries.must_wait(&1, now + STEP), None, "one is forgotten");
        tries.refused(1, now + STEP);
        assert!(tries.must_wait(&1, now + STEP).is_some());
        tries.forgive(&1);
        assert_eq!(tries.must_wait(&1, now + STEP), None);
        tries.refused(1, now + STEP);
        tries.forget(&1);
        assert_eq!(tries.must_wait(&1, now + STEP), None);
    }

    #[test]
    fn tries_count_before_they_are_judged() {
        let (tries, now) = (Tries::new(3, STEP), Instant::now());
        let begun = (0..9).filter(|_| tries.begin(1, now).is_ok()).count();
        assert_eq!(begun, 3);
        assert_eq!(tries.begin(1, now), Err(STEP));
        tries.forgive(&1);
        assert_eq!(tries.begin(1, now), Ok(()), "one succeeded after all");
    }

    #[test]
    fn a_flood_of_keys_is_bounded_and_ends() {
        let (tries, now) = (Tries::new(30, STEP), Instant::now());
        for n in 0..20_000 {
            tries.refused(n, now);
        }
        assert_eq!(tries.counts.lock().unwrap().known.len(), MAX_KEYS);
        assert!(tries.must_wait(&30_000, now).is_some(), "strangers share a count");
        let later = now + STEP * 20_000;
        tries.refused(7, later);
        assert_eq!(tries.must_wait(&30_000, later), None);
        assert_eq!(tries.counts.lock().unwrap().known.len(), 1);
    }
}
