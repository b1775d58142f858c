//! Tables `audit` and `audit_head`.

use fleet_types::Digest;
use service_kit::database::{DatabaseError, GenericClient, execute, query, query_one, query_opt};
use tokio_postgres::Row;
use wire::v1::audit::{Entry, Head};

use service_kit::database::columns::{get, signed, text, unsigned};

service_kit::statements! {
    // Holds the chain's end until the transaction ends: rows are added one after the other.
    LOCK_HEAD = "SELECT seq, hash FROM audit_head FOR UPDATE";
    HEAD = "SELECT seq, hash FROM audit_head";
    SET_HEAD = "UPDATE audit_head SET seq = $1, hash = $2";
    INSERT = "INSERT INTO audit (seq, at, who, via, address, action, subject, reason, before_state, after_state,
        previous, hash) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)";
    HASH_OF = "SELECT hash FROM audit WHERE seq = $1";
    AFTER = "SELECT seq, at, who, via, address, action, subject, reason, before_state, after_state, previous, hash
        FROM audit WHERE seq > $1 ORDER BY seq LIMIT $2";
    BEFORE = "SELECT seq, at, who, via, address, action, subject, reason, before_state, after_state, previous, hash
        FROM audit WHERE seq < $1 ORDER BY seq DESC LIMIT $2";
}

fn head_from(row: &Row) -> Result<Head, DatabaseError> {
    Ok(Head { seq: unsigned(row, "seq")?, hash: text(row, "hash")? })
}

fn state(row: &Row, column: &'static str) -> Result<Option<serde_json::Value>, DatabaseError> {
    let text: Option<&str> = get(row, column)?;
    text.map(|text| serde_json::from_str(text).map_err(|e| DatabaseError::value(column, e))).transpose()
}

fn from_row(row: &Row) -> Result<Entry, DatabaseError> {
    Ok(Entry {
        seq: unsigned(row, "seq")?,
        at: get(row, "at")?,
        who: get(row, "who")?,
        via: get(row, "via")?,
        address: get(row, "address")?,
        action: get(row, "action")?,
        subject: get(row, "subject")?,
        reason: get(row, "reason")?,
        before: state(row, "before_state")?,
        after: state(row, "after_state")?,
        previous: text(row, "previous")?,
        hash: text(row, "hash")?,
    })
}

/// The chain's end, held until the transaction `c` ends.
///
/// # Errors
/// As every statement.
pub async fn lock_head<C: GenericClient>(c: &C) -> Result<Head, DatabaseError> {
    head_from(&query_one(c, LOCK_HEAD, &[]).await?)
}

/// The chain's end.
///
/// # Errors
/// As every statement.
pub async fn head<C: GenericClient>(c: &C) -> Result<Head, DatabaseError> {
    head_from(&query_one(c, HEAD, &[]).await?)
}

/// Adds a row to the chain whose end the transaction holds.
///
/// # Errors
/// As every statement.
pub async fn insert<C: GenericClient>(c: &C, entry: &Entry) -> Result<(), DatabaseError> {
    let state = |value: &Option<serde_json::Value>| value.as_ref().map(ToString::to_string);
    let (before, after) = (state(&entry.before), state(&entry.after));
    let (seq, previous, hash) = (signed(entry.seq), entry.previous.to_string(), entry.hash.to_string());
    let params: [&(dyn tokio_postgres::types::ToSql + Sync); 12] = [
        &seq,
        &entry.at,
        &entry.who,
        &entry.via,
        &entry.address,
        &entry.action,
        &entry.subject,
        &entry.reason,
        &before,
        &after,
        &previous,
        &hash,
    ];
    execute(c, INSERT, &params).await?;
    execute(c, SET_HEAD, &[&seq, &hash]).await.map(drop)
}

/// The hash of a row, if there is one of that number.
///
/// # Errors
/// As every statement.
pub async fn hash_of<C: GenericClient>(c: &C, seq: u64) -> Result<Option<Digest>, DatabaseError> {
    query_opt(c, HASH_OF, &[&signed(seq)]).await?.as_ref().map(|row| text(row, "hash")).transpose()
}

/// The `limit` rows after number `seq`, rising.
///
/// # Errors
/// As every statement.
pub async fn after<C: GenericClient>(c: &C, seq: u64, limit: u64) -> Result<Vec<Entry>, DatabaseError> {
    query(c, AFTER, &[&signed(seq), &signed(limit)]).await?.iter().map(from_row).collect()
}

/// The `limit` rows before number `seq`, falling.
///
/// # Errors
/// As every statement.
pub async fn before<C: GenericClient>(c: &C, seq: u64, limit: u64) -> Result<Vec<Entry>, DatabaseError> {
    query(c, BEFORE, &[&signed(seq), &signed(limit)]).await?.iter().map(from_row).collect()
}
