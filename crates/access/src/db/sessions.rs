//! Table `sessions`.

use chrono::{DateTime, Utc};
use fleet_types::{Digest, OperatorName};
use service_kit::database::{DatabaseError, GenericClient, execute, query, query_opt};
use tokio_postgres::Row;
use uuid::Uuid;
use wire::v1::operators::OperatorRole;

use service_kit::database::columns::{get, text};

service_kit::statements! {
    INSERT = "INSERT INTO sessions (id, operator, sha256, address, program, begun_at, last_used, expires_at)
        VALUES ($1, $2, $3, $4, $5, $6, $6, $7)";
    // Ended for whichever reason: one answer.
    BY_SECRET = "SELECT s.id, s.last_used, o.name, o.role FROM sessions s JOIN operators o ON o.name = s.operator
        WHERE s.sha256 = $1 AND s.expires_at > $2 AND s.last_used > $3 AND o.disabled_at IS NULL";
    TOUCH = "UPDATE sessions SET last_used = $2 WHERE id = $1 AND last_used < $2";
    OF = "SELECT id, address, program, begun_at, last_used, expires_at FROM sessions
        WHERE operator = $1 AND expires_at > $2 AND last_used > $3 ORDER BY begun_at DESC, id";
    END = "DELETE FROM sessions WHERE id = $1 AND operator = $2";
    END_ALL = "DELETE FROM sessions WHERE operator = $1 AND id IS DISTINCT FROM $2";
    END_OLD = "DELETE FROM sessions WHERE expires_at <= $1 OR last_used <= $2";
    END_OLDEST = "DELETE FROM sessions WHERE operator = $1 AND id NOT IN
        (SELECT id FROM sessions WHERE operator = $1 ORDER BY begun_at DESC, id LIMIT $2)";
    END_BY_SECRET = "DELETE FROM sessions WHERE sha256 = $1";
}

/// A session that begins.
pub struct NewSession<'a> {
    /// Its handle.
    pub id: Uuid,
    /// Whose.
    pub operator: &'a OperatorName,
    /// The hash of what the browser holds.
    pub secret: &'a Digest,
    /// From where.
    pub address: &'a str,
    /// What the browser calls itself.
    pub program: &'a str,
    /// Now.
    pub now: DateTime<Utc>,
    /// When it ends.
    pub expires: DateTime<Utc>,
}

/// A session that was shown.
#[derive(Debug, Clone)]
pub struct HeldSession {
    /// Its handle.
    pub id: Uuid,
    /// Whose.
    pub operator: OperatorName,
    /// What its operator may do now.
    pub role: OperatorRole,
    /// When it was last used.
    pub last_used: DateTime<Utc>,
}

/// A session in a list.
#[derive(Debug, Clone)]
pub struct SessionRow {
    /// Its handle.
    pub id: Uuid,
    /// From where it was begun.
    pub address: String,
    /// What began it.
    pub program: String,
    /// When it began.
    pub begun: DateTime<Utc>,
    /// When it was last used.
    pub last_used: DateTime<Utc>,
    /// When it ends.
    pub expires: DateTime<Utc>,
}

fn from_row(row: &Row) -> Result<SessionRow, DatabaseError> {
    Ok(SessionRow {
        id: get(row, "id")?,
        address: get(row, "address")?,
        program: get(row, "program")?,
        begun: get(row, "begun_at")?,
        last_used: get(row, "last_used")?,
        expires: get(row, "expires_at")?,
    })
}

/// Begins a session.
///
/// # Errors
/// As every statement.
pub async fn insert<C: GenericClient>(c: &C, new: &NewSession<'_>) -> Result<(), DatabaseError> {
    let (operator, secret) = (new.operator.as_str(), new.secret.to_string());
    let params: [&(dyn tokio_postgres::types::ToSql + Sync); 7] =
        [&new.id, &operator, &secret, &new.address, &new.program, &new.now, &new.expires];
    execute(c, INSERT, &params).await.map(drop)
}

/// Returns the session with this secret, unless it was idle.
///
/// It must have been used after `idle_since`, and its operator must be enabled.
///
/// # Errors
/// As every statement.
pub async fn by_secret<C: GenericClient>(
    c: &C,
    secret: &Digest,
    now: DateTime<Utc>,
    idle_since: DateTime<Utc>,
) -> Result<Option<HeldSession>, DatabaseError> {
    let row = query_opt(c, BY_SECRET, &[&secret.to_string(), &now, &idle_since]).await?;
    row.as_ref()
        .map(|row| {
            Ok(HeldSession {
                id: get(row, "id")?,
                operator: text(row, "name")?,
                role: text(row, "role")?,
                last_used: get(row, "last_used")?,
            })
        })
        .transpose()
}

/// It was used now.
///
/// # Errors
/// As every statement.
pub async fn touch<C: GenericClient>(c: &C, id: Uuid, now: DateTime<Utc>) -> Result<(), DatabaseError> {
    execute(c, TOUCH, &[&id, &now]).await.map(drop)
}

/// An operator's sessions that have not ended, newest first.
///
/// # Errors
/// As every statement.
pub async fn of<C: GenericClient>(
    c: &C,
    operator: &OperatorName,
    now: DateTime<Utc>,
    idle_since: DateTime<Utc>,
) -> Result<Vec<SessionRow>, DatabaseError> {
    query(c, OF, &[&operator.as_str(), &now, &idle_since]).await?.iter().map(from_row).collect()
}

/// Ends an operator's session. False if it has none with this handle.
///
/// # Errors
/// As every statement.
pub async fn end<C: GenericClient>(c: &C, id: Uuid, operator: &OperatorName) -> Result<bool, DatabaseError> {
    Ok(execute(c, END, &[&id, &operator.as_str()]).await? == 1)
}

/// Ends all sessions of an operator but `kept`; how many.
///
/// # Errors
/// As every statement.
pub async fn end_all<C: GenericClient>(
    c: &C,
    operator: &OperatorName,
    kept: Option<Uuid>,
) -> Result<u64, DatabaseError> {
    execute(c, END_ALL, &[&operator.as_str(), &kept]).await
}

/// Ends the session with this secret, if there is one.
///
/// # Errors
/// As every statement.
pub async fn end_by_secret<C: GenericClient>(c: &C, secret: &Digest) -> Result<(), DatabaseError> {
    execute(c, END_BY_SECRET, &[&secret.to_string()]).await.map(drop)
}

/// Deletes expired, idle and surplus sessions of one operator.
///
/// Idle since `idle_since`; surplus beyond the `most` newest.
///
/// # Errors
/// As every statement.
pub async fn tidy<C: GenericClient>(
    c: &C,
    operator: &OperatorName,
    most: i64,
    now: DateTime<Utc>,
    idle_since: DateTime<Utc>,
) -> Result<(), DatabaseError> {
    execute(c, END_OLD, &[&now, &idle_since]).await?;
    execute(c, END_OLDEST, &[&operator.as_str(), &most]).await.map(drop)
}
