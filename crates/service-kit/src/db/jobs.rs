//! Background jobs: claimed with a lease, so that a killed worker's job is taken up by the next.

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio_postgres::Row;
use uuid::Uuid;

use super::{DatabaseError, GenericClient, execute, query, query_opt};

/// Longest failure text that is kept, in characters.
const MAX_FAILURE: usize = 2000;

crate::statements! {
    ENQUEUE = "INSERT INTO jobs (kind, subject, state, not_before, created_at) VALUES ($1, $2, $3, $4, $4)
        ON CONFLICT (kind, subject) WHERE done_at IS NULL DO NOTHING RETURNING id";
    WAKE = "SELECT pg_notify('filial', 'jobs')";
    CLAIM = "UPDATE jobs SET lease_owner = $1, lease_until = $2, attempts = attempts + 1
        WHERE id = (SELECT id FROM jobs WHERE done_at IS NULL AND kind = ANY($3) AND not_before <= $4
                      AND (lease_until IS NULL OR lease_until <= $4 OR lease_owner = $1)
                    ORDER BY not_before, id FOR UPDATE SKIP LOCKED LIMIT 1)
        RETURNING id, kind, subject, state, attempts, failure";
    RENEW = "UPDATE jobs SET lease_until = $3 WHERE id = $1 AND lease_owner = $2 AND done_at IS NULL";
    SAVE_STATE = "UPDATE jobs SET state = $3 WHERE id = $1 AND lease_owner = $2 AND done_at IS NULL";
    FINISH = "UPDATE jobs SET done_at = $3, lease_owner = NULL, lease_until = NULL, failure = NULL
        WHERE id = $1 AND lease_owner = $2 AND done_at IS NULL";
    GIVE_UP = "UPDATE jobs SET done_at = $3, lease_owner = NULL, lease_until = NULL, failure = $4
        WHERE id = $1 AND lease_owner = $2 AND done_at IS NULL";
    FAIL = "UPDATE jobs SET failure = $3, not_before = $4, lease_owner = NULL, lease_until = NULL
        WHERE id = $1 AND lease_owner = $2 AND done_at IS NULL";
    RELEASE = "UPDATE jobs SET lease_owner = NULL, lease_until = NULL, attempts = GREATEST(attempts - 1, 0)
        WHERE id = $1 AND lease_owner = $2 AND done_at IS NULL";
    RELEASE_ALL_OF = "UPDATE jobs SET lease_owner = NULL, lease_until = NULL
        WHERE lease_owner = $1 AND done_at IS NULL";
    PRUNE = "DELETE FROM jobs WHERE done_at < $1";
}

/// A job.
#[derive(Debug, Clone, PartialEq)]
pub struct Job {
    /// Its number.
    pub id: i64,
    /// What is to be done.
    pub kind: String,
    /// To what.
    pub subject: String,
    /// Its progress, in the kind's own words.
    pub state: serde_json::Value,
    /// How often it was begun, this time included.
    pub attempts: u32,
    /// Why it failed last, if it did.
    pub failure: Option<String>,
}

impl Job {
    /// The state as `T`; the default for a job that was never begun.
    ///
    /// # Errors
    /// Another version wrote something else there.
    pub fn state<T: DeserializeOwned + Default>(&self) -> Result<T, DatabaseError> {
        if self.state.as_object().is_some_and(serde_json::Map::is_empty) {
            return Ok(T::default());
        }
        serde_json::from_value(self.state.clone()).map_err(|e| DatabaseError::value("jobs.state", e))
    }

    fn from_row(row: &Row) -> Self {
        Self {
            id: row.get(0),
            kind: row.get(1),
            subject: row.get(2),
            state: row.get(3),
            attempts: u32::try_from(row.get::<_, i32>(4)).unwrap_or(0),
            failure: row.get(5),
        }
    }
}

/// Asks for a job and wakes a worker at commit. False if the same is asked for already.
///
/// # Errors
/// As every statement.
pub async fn enqueue<C: GenericClient>(
    c: &C,
    kind: &str,
    subject: &str,
    state: &impl Serialize,
    now: DateTime<Utc>,
) -> Result<bool, DatabaseError> {
    let state = serde_json::to_value(state).map_err(|e| DatabaseError::value("jobs.state", e))?;
    let new = query_opt(c, ENQUEUE, &[&kind, &subject, &state, &now]).await?.is_some();
    query(c, WAKE, &[]).await?;
    Ok(new)
}

/// Takes the oldest due job of one of `kinds` until `until`. Skips what others hold. What `owner` itself holds is taken
/// again: a worker does one job of a kind at a time, so one that asks has lost what it held, such as when PostgreSQL was
/// away while the outcome was to be stored.
///
/// # Errors
/// As every statement.
pub async fn claim<C: GenericClient>(
    c: &C,
    owner: Uuid,
    kinds: &[&str],
    now: DateTime<Utc>,
    until: DateTime<Utc>,
) -> Result<Option<Job>, DatabaseError> {
    Ok(query_opt(c, CLAIM, &[&owner, &until, &kinds, &now]).await?.as_ref().map(Job::from_row))
}

/// Keeps a job until `until`. False if it was lost to another.
///
/// # Errors
/// As every statement.
pub async fn renew<C: GenericClient>(c: &C, id: i64, owner: Uuid, until: DateTime<Utc>) -> Result<bool, DatabaseError> {
    Ok(execute(c, RENEW, &[&id, &owner, &until]).await? == 1)
}

/// Stores a job's progress. False if it was lost to another: stop then.
///
/// # Errors
/// As every statement.
pub async fn save_state<C: GenericClient>(
    c: &C,
    id: i64,
    owner: Uuid,
    state: &impl Serialize,
) -> Result<bool, DatabaseError> {
    let state = serde_json::to_value(state).map_err(|e| DatabaseError::value("jobs.state", e))?;
    Ok(execute(c, SAVE_STATE, &[&id, &owner, &state]).await? == 1)
}

/// It is done. False if it was lost to another.
///
/// # Errors
/// As every statement.
pub async fn finish<C: GenericClient>(c: &C, id: i64, owner: Uuid, now: DateTime<Utc>) -> Result<bool, DatabaseError> {
    Ok(execute(c, FINISH, &[&id, &owner, &now]).await? == 1)
}

/// It can never succeed: closed with its failure.
///
/// # Errors
/// As every statement.
pub async fn give_up<C: GenericClient>(
    c: &C,
    id: i64,
    owner: Uuid,
    now: DateTime<Utc>,
    failure: &str,
) -> Result<bool, DatabaseError> {
    Ok(execute(c, GIVE_UP, &[&id, &owner, &now, &clip(failure)]).await? == 1)
}

/// It failed for now: try again from `not_before` on.
///
/// # Errors
/// As every statement.
pub async fn fail_with_backoff<C: GenericClient>(
    c: &C,
    id: i64,
    owner: Uuid,
    failure: &str,
    not_before: DateTime<Utc>,
) -> Result<bool, DatabaseError> {
    Ok(execute(c, FAIL, &[&id, &owner, &clip(failure), &not_before]).await? == 1)
}

/// Puts a job back without counting the attempt: the worker stops, the job did not fail.
///
/// # Errors
/// As every statement.
pub async fn release<C: GenericClient>(c: &C, id: i64, owner: Uuid) -> Result<bool, DatabaseError> {
    Ok(execute(c, RELEASE, &[&id, &owner]).await? == 1)
}

/// Puts back all jobs of an owner that is known to be dead (killed before this start).
///
/// # Errors
/// As every statement.
pub async fn release_all_of<C: GenericClient>(c: &C, owner: Uuid) -> Result<u64, DatabaseError> {
    execute(c, RELEASE_ALL_OF, &[&owner]).await
}

/// Forgets jobs that were done before `before`.
///
/// # Errors
/// As every statement.
pub async fn prune<C: GenericClient>(c: &C, before: DateTime<Utc>) -> Result<u64, DatabaseError> {
    execute(c, PRUNE, &[&before]).await
}

fn clip(text: &str) -> String {
    text.chars().take(MAX_FAILURE).collect()
}
