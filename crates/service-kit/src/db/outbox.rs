//! The outbox of events: rows written in the transaction in which something happened, read in order by id.

use chrono::{DateTime, Utc};

use super::{DatabaseError, GenericClient, execute, query, query_one};

crate::statements! {
    // Ids must become visible in their order, or a reader that saw 8 would never see 7: writers take turns until
    // they commit. They are short and few.
    TAKE_TURN = "SELECT pg_advisory_xact_lock(7001700270037005)";
    APPEND = "INSERT INTO events (at, audience, body) VALUES ($1, $2, $3) RETURNING id";
    APPEND_ALL = "INSERT INTO events (at, audience, body) SELECT $1, a, $3 FROM unnest($2::text[]) AS a";
    WAKE = "SELECT pg_notify('filial', 'events')";
    AFTER = "SELECT id, at, audience, body FROM events WHERE audience = ANY($1) AND id > $2 ORDER BY id LIMIT $3";
    LATEST_ID = "SELECT COALESCE(max(id), 0) FROM events";
    OLDEST_ID = "SELECT COALESCE(min(id), 0) FROM events";
    // The newest row stays: it anchors the numbering that receivers remember.
    PRUNE = "DELETE FROM events WHERE at < $1 AND id < (SELECT max(id) FROM events)";
}

/// An event.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredEvent {
    /// Its number; rises with every event.
    pub id: i64,
    /// When it was written.
    pub at: DateTime<Utc>,
    /// For whom, such as `branch:north`.
    pub audience: String,
    /// What happened.
    pub body: serde_json::Value,
}

/// Writes an event; readers are woken at commit. `c` must be the transaction of what happened.
///
/// # Errors
/// As every statement.
pub async fn append<C: GenericClient>(
    c: &C,
    audience: &str,
    body: &serde_json::Value,
    now: DateTime<Utc>,
) -> Result<i64, DatabaseError> {
    query(c, TAKE_TURN, &[]).await?;
    let id = query_one(c, APPEND, &[&now, &audience, body]).await?.get(0);
    query(c, WAKE, &[]).await?;
    Ok(id)
}

/// [`append`] of the same event for each of `audiences`, in as many statements as for one.
///
/// # Errors
/// As every statement.
pub async fn append_all<C: GenericClient>(
    c: &C,
    audiences: &[String],
    body: &serde_json::Value,
    now: DateTime<Utc>,
) -> Result<(), DatabaseError> {
    if audiences.is_empty() {
        return Ok(());
    }
    query(c, TAKE_TURN, &[]).await?;
    execute(c, APPEND_ALL, &[&now, &audiences, body]).await?;
    query(c, WAKE, &[]).await.map(drop)
}

/// The events for any of `audiences` after `id`, in order, at most `limit`.
///
/// # Errors
/// As every statement.
pub async fn after<C: GenericClient>(
    c: &C,
    id: i64,
    audiences: &[&str],
    limit: i64,
) -> Result<Vec<StoredEvent>, DatabaseError> {
    let rows = query(c, AFTER, &[&audiences, &id, &limit]).await?;
    Ok(rows
        .iter()
        .map(|row| StoredEvent { id: row.get(0), at: row.get(1), audience: row.get(2), body: row.get(3) })
        .collect())
}

/// The newest event's number; 0 before the first.
///
/// # Errors
/// As every statement.
pub async fn latest_id<C: GenericClient>(c: &C) -> Result<i64, DatabaseError> {
    Ok(query_one(c, LATEST_ID, &[]).await?.get(0))
}

/// The oldest kept event's number; 0 if the outbox is empty. A reader that remembers an older one has missed some.
///
/// # Errors
/// As every statement.
pub async fn oldest_id<C: GenericClient>(c: &C) -> Result<i64, DatabaseError> {
    Ok(query_one(c, OLDEST_ID, &[]).await?.get(0))
}

/// Forgets events written before `before`.
///
/// # Errors
/// As every statement.
pub async fn prune<C: GenericClient>(c: &C, before: DateTime<Utc>) -> Result<u64, DatabaseError> {
    execute(c, PRUNE, &[&before]).await
}
