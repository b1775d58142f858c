//! Reads columns that the databases of both programs have.

use std::error::Error;
use std::str::FromStr;

use tokio_postgres::Row;
use tokio_postgres::types::FromSql;
use wire::Reason;

use super::DatabaseError;

/// Reads a column.
///
/// # Errors
/// The column has another type.
pub fn get<'r, T: FromSql<'r>>(row: &'r Row, column: &'static str) -> Result<T, DatabaseError> {
    row.try_get(column).map_err(|e| DatabaseError::value(column, e))
}

/// Reads a reason out of its text, which may be null, and its JSON. `code` is the column of its code, if it has one.
///
/// # Errors
/// A column has another type.
pub fn reason(
    row: &Row,
    code: Option<&'static str>,
    text: &'static str,
    json: &'static str,
) -> Result<Option<Reason>, DatabaseError> {
    let Some(text) = get::<Option<String>>(row, text)? else { return Ok(None) };
    let code: Option<&str> = code.map_or(Ok(None), |column| get(row, column))?;
    Ok(Some(wire::reason::from_columns(get(row, json)?, code, text)))
}

/// Reads a text column and parses it.
///
/// # Errors
/// The column has another type, or its text is not a `T`.
pub fn text<T>(row: &Row, column: &'static str) -> Result<T, DatabaseError>
where
    T: FromStr<Err: Error + Send + Sync + 'static>,
{
    get::<&str>(row, column)?.parse().map_err(|e| DatabaseError::value(column, e))
}

/// Converts a number for a column.
///
/// PostgreSQL has no unsigned numbers, and ours lie far below 2^63: beyond it the largest stands.
pub fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// Reads a column of lengths, counts or serials.
///
/// # Errors
/// The column has another type, or is negative.
pub fn unsigned(row: &Row, column: &'static str) -> Result<u64, DatabaseError> {
    let value: i64 = get(row, column)?;
    u64::try_from(value).map_err(|e| DatabaseError::value(column, e))
}
