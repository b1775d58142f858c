//! Reads columns that the databases of both programs have.

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
