//! Who may write an upload now: one at a time, and of one operator the newest.
//!
//! A dead connection is silent and cannot be told from a slow one. So an operator who comes back with a
//! new request takes the upload over: the older request is told to end, writes down what it holds, and only then does
//! the newer one begin. Requests of two operators never take anything from each other: the second is refused.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::OwnedMutexGuard;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// How long a request waits for the one before it to write down what it holds.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why an upload could not be claimed.
#[derive(Debug, thiserror::Error)]
pub enum ClaimError {
    /// Another request writes it.
    #[error("another request is writing this upload")]
    Busy,
    /// A newer request of the same operator writes it now.
    #[error("a newer request has taken this upload over")]
    TakenOver,
}

/// The claims on all uploads. In memory: the store belongs to one process.
#[derive(Debug, Default)]
pub struct Claims {
    slots: Mutex<HashMap<Uuid, Weak<Slot>>>,
    creating: tokio::sync::Mutex<()>,
}

/// One upload in use. Lives as long as a request holds it or waits for it.
#[derive(Debug)]
struct Slot {
    turn: Arc<tokio::sync::Mutex<()>>,
    newest: Mutex<Newest>,
}

#[derive(Debug)]
struct Newest {
    operator: String,
    taken_over: CancellationToken,
}

/// The right to write one upload, or to end it. Given back when dropped.
#[derive(Debug)]
pub struct Claim {
    taken_over: CancellationToken,
    _turn: OwnedMutexGuard<()>,
    _slot: Arc<Slot>,
}

impl Claim {
    /// Triggered when a newer request asks for the upload: write down what is held and let go.
    pub fn taken_over(&self) -> CancellationToken {
        self.taken_over.clone()
    }
}

impl Claims {
    /// The turn to create an upload: one request at a time.
    pub async fn creating(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.creating.lock().await
    }

    /// Claims an upload for a request of `operator`.
    ///
    /// An older request of the same operator is ended first.
    ///
    /// # Errors
    /// A request of another operator writes it, the older request does not end, or a still newer one came.
    pub async fn claim(&self, id: Uuid, operator: &str) -> Result<Claim, ClaimError> {
        self.take(id, operator, |held_by| held_by == operator).await
    }

    /// Claims an upload in order to end it: a request that writes it is ended.
    ///
    /// # Errors
    /// As [`Claims::claim`], except for another operator's request.
    pub async fn claim_from_anybody(&self, id: Uuid, operator: &str) -> Result<Claim, ClaimError> {
        self.take(id, operator, |_| true).await
    }

    /// Claims an upload that is not in use; none if it is.
    pub async fn claim_if_free(&self, id: Uuid) -> Option<Claim> {
        self.take(id, "", |_| false).await.ok()
    }

    async fn take(&self, id: Uuid, operator: &str, may_end: impl Fn(&str) -> bool) -> Result<Claim, ClaimError> {
        let taken_over = CancellationToken::new();
        let newest = Newest { operator: operator.to_owned(), taken_over: taken_over.clone() };
        let slot = {
            let mut slots = lock(&self.slots);
            slots.retain(|_, slot| slot.strong_count() > 0);
            match slots.get(&id).and_then(Weak::upgrade) {
                Some(slot) => {
                    let mut held = lock(&slot.newest);
                    if !may_end(&held.operator) {
                        return Err(ClaimError::Busy);
                    }
                    std::mem::replace(&mut *held, newest).taken_over.cancel();
                    drop(held);
                    slot
                }
                None => {
                    let slot = Arc::new(Slot { turn: Arc::default(), newest: Mutex::new(newest) });
                    slots.insert(id, Arc::downgrade(&slot));
                    slot
                }
            }
        };
        let turn = tokio::time::timeout(PATIENCE, slot.turn.clone().lock_owned());
        tokio::select! {
            biased;
            () = taken_over.cancelled() => Err(ClaimError::TakenOver),
            turn = turn => match turn {
                Ok(turn) => Ok(Claim { taken_over, _turn: turn, _slot: slot }),
                Err(_) => Err(ClaimError::Busy),
            },
        }
    }
}

/// A panic elsewhere leaves a map that is as good as before.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_newest_request_of_an_operator_gets_the_upload_once_the_older_one_let_go() {
        let (claims, id) = (Claims::default(), Uuid::new_v4());
        let first = claims.claim(id, "ann").await.unwrap();
        let ended = first.taken_over();
        let second = tokio::spawn(async move {
            let second = claims.claim(id, "ann").await.unwrap();
            (claims, second)
        });
        ended.cancelled().await;
        assert!(!second.is_finished(), "both hold it");
        drop(first);
        let (claims, second) = second.await.unwrap();
        assert!(!second.taken_over().is_cancelled());
        drop(second);
        claims.claim(id, "bob").await.unwrap();
    }

    #[tokio::test]
    async fn operators_take_nothing_from_each_other_but_an_end_is_an_end() {
        let (claims, id) = (Claims::default(), Uuid::new_v4());
        let first = claims.claim(id, "ann").await.unwrap();
        assert!(matches!(claims.claim(id, "bob").await, Err(ClaimError::Busy)));
        assert!(claims.claim_if_free(id).await.is_none());
        claims.claim(Uuid::new_v4(), "bob").await.unwrap();
        assert!(!first.taken_over().is_cancelled());
        let ended = first.taken_over();
        let holder = async {
            ended.cancelled().await;
            drop(first);
        };
        let (claim, ()) = tokio::join!(claims.claim_from_anybody(id, "bob"), holder);
        claim.unwrap();
        assert!(claims.claim_if_free(id).await.is_some());
    }

    #[tokio::test]
    async fn a_request_that_waits_is_taken_over_as_well() {
        let (claims, id) = (Claims::default(), Uuid::new_v4());
        let first = claims.claim(id, "ann").await.unwrap();
        let waiting = claims.claim(id, "ann");
        let newest = async {
            first.taken_over().cancelled().await;
            let third = claims.claim(id, "ann");
            let release = async { drop(first) };
            tokio::join!(third, release).0
        };
        let (second, third) = tokio::join!(waiting, newest);
        assert!(matches!(second, Err(ClaimError::TakenOver)));
        third.unwrap();
    }
}
