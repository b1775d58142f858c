//! Turns: of what has the same key so many run at once, so many more wait, and the rest is refused.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Turns by key. Clones share them. A key that is not in use takes no memory.
#[derive(Debug)]
pub struct Turns<K: Eq + Hash> {
    running: usize,
    waiting: usize,
    keys: Arc<Mutex<HashMap<K, Key>>>,
}

#[derive(Debug)]
struct Key {
    turns: Arc<Semaphore>,
    /// How many have a turn or wait for one.
    users: usize,
}

/// As many wait for a turn as may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooMany;

/// A turn, as long as it lives.
#[derive(Debug)]
pub struct Turn<K: Eq + Hash> {
    // Given back before the user leaves, so that a key without users has all its turns.
    _permit: Option<OwnedSemaphorePermit>,
    _user: User<K>,
}

/// One that has a turn or waits for one.
#[derive(Debug)]
struct User<K: Eq + Hash> {
    of: Turns<K>,
    key: Option<K>,
}

impl<K: Eq + Hash> Clone for Turns<K> {
    fn clone(&self) -> Self {
        Self { keys: Arc::clone(&self.keys), ..*self }
    }
}

impl<K: Eq + Hash + Clone> Turns<K> {
    /// Of each key at most `running` at once, while `waiting` more wait in the order in which they came.
    pub fn new(running: usize, waiting: usize) -> Self {
        Self { running: running.max(1), waiting, keys: Arc::default() }
    }

    /// Waits for a turn.
    ///
    /// # Errors
    /// Too many wait already.
    pub async fn take(&self, key: K) -> Result<Turn<K>, TooMany> {
        let (turns, user) = self.enter(key)?;
        // It is never closed; if it were, who bounds nothing would still be right.
        let permit = turns.acquire_owned().await.ok();
        Ok(Turn { _permit: permit, _user: user })
    }

    fn enter(&self, key: K) -> Result<(Arc<Semaphore>, User<K>), TooMany> {
        let mut keys = self.keys();
        let new = || Key { turns: Arc::new(Semaphore::new(self.running)), users: 0 };
        let entry = keys.entry(key.clone()).or_insert_with(new);
        if entry.users >= self.running.saturating_add(self.waiting) {
            return Err(TooMany);
        }
        entry.users += 1;
        Ok((Arc::clone(&entry.turns), User { of: self.clone(), key: Some(key) }))
    }
}

impl<K: Eq + Hash> Turns<K> {
    fn keys(&self) -> MutexGuard<'_, HashMap<K, Key>> {
        // Every change is whole before anything can panic.
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Eq + Hash> Drop for User<K> {
    fn drop(&mut self) {
        let Some(key) = self.key.take() else { return };
        let mut keys = self.of.keys();
        let Some(entry) = keys.get_mut(&key) else { return };
        entry.users -= 1;
        if entry.users == 0 {
            keys.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn so_many_run_so_many_wait_and_the_rest_is_refused() {
        let turns = Turns::new(2, 1);
        let (one, two) = (turns.take("a").await.unwrap(), turns.take("a").await.unwrap());
        let mut waiting = Box::pin(turns.take("a"));
        assert!(waiting.as_mut().now_or_never().is_none());
        assert_eq!(turns.take("a").await.unwrap_err(), TooMany);
        let other = turns.take("b").await.unwrap();
        drop(one);
        let third = waiting.await.unwrap();
        drop((two, third, other));
        assert!(turns.keys().is_empty());
    }

    #[tokio::test]
    async fn who_gives_up_waiting_leaves_its_place() {
        let turns = Turns::new(1, 1);
        let held = turns.take("a").await.unwrap();
        let mut waiting = Box::pin(turns.take("a"));
        assert!(waiting.as_mut().now_or_never().is_none());
        drop(waiting);
        let mut next = Box::pin(turns.take("a"));
        assert!(next.as_mut().now_or_never().is_none(), "it waits, and is not refused");
        drop(held);
        drop(next.await.unwrap());
        assert!(turns.keys().is_empty());
    }
}
