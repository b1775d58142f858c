//! Columns of a row as values of ours.

use std::error::Error;
use std::str::FromStr;

use service_kit::database::DatabaseError;
use tokio_postgres::Row;

/// Reads a text column and parses it.
pub(super) fn text<T>(row: &Row, column: &'static str) -> Result<T, DatabaseError>
where
    T: FromStr<Err: Error + Send + Sync + 'static>,
{
    let text: &str = row.try_get(column).map_err(|e| DatabaseError::value(column, e))?;
    text.parse().map_err(|e| DatabaseError::value(column, e))
}

/// Reads a text column that may be null and parses it.
pub(super) fn text_opt<T>(row: &Row, column: &'static str) -> Result<Option<T>, DatabaseError>
where
    T: FromStr<Err: Error + Send + Sync + 'static>,
{
    let text: Option<&str> = row.try_get(column).map_err(|e| DatabaseError::value(column, e))?;
    text.map(|t| t.parse().map_err(|e| DatabaseError::value(column, e))).transpose()
}

/// Reads a column.
pub(super) fn get<'a, T: tokio_postgres::types::FromSql<'a>>(
    row: &'a Row,
    column: &'static str,
) -> Result<T, DatabaseError> {
    row.try_get(column).map_err(|e| DatabaseError::value(column, e))
}

/// Reads a JSON column that may be null.
pub(super) fn json<T: serde::de::DeserializeOwned>(
    row: &Row,
    column: &'static str,
) -> Result<Option<T>, DatabaseError> {
    let value: Option<serde_json::Value> = get(row, column)?;
    value.map(|v| serde_json::from_value(v).map_err(|e| DatabaseError::value(column, e))).transpose()
}

/// Converts a value to JSON for a column.
pub(super) fn to_json<T: serde::Serialize>(
    value: &T,
    column: &'static str,
) -> Result<serde_json::Value, DatabaseError> {
    serde_json::to_value(value).map_err(|e| DatabaseError::value(column, e))
}

/// Converts a number for a column.
///
/// PostgreSQL has no unsigned numbers, and ours lie far below 2^63.
pub(super) fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// Reads a column of lengths, counts or serials.
pub(super) fn unsigned(row: &Row, column: &'static str) -> Result<u64, DatabaseError> {
    let value: i64 = get(row, column)?;
    u64::try_from(value).map_err(|e| DatabaseError::value(column, e))
}
