//! Columns of a row as values of ours.

use std::error::Error;
use std::str::FromStr;

use service_kit::database::DatabaseError;
pub(super) use service_kit::database::columns::{get, reason, signed, text, unsigned};
use tokio_postgres::Row;
use wire::Reason;

/// Reads a text column that may be null and parses it.
pub(super) fn text_opt<T>(row: &Row, column: &'static str) -> Result<Option<T>, DatabaseError>
where
    T: FromStr<Err: Error + Send + Sync + 'static>,
{
    let text: Option<&str> = row.try_get(column).map_err(|e| DatabaseError::value(column, e))?;
    text.map(|t| t.parse().map_err(|e| DatabaseError::value(column, e))).transpose()
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
    serde_json::to_value(value).map_err(|e| DatabaseError::unwritable(column, e))
}

/// A reason's code, text and JSON.
pub(super) type ReasonColumns<'a> = (Option<&'a str>, Option<&'a str>, Option<serde_json::Value>);

/// Converts a reason to the values of its columns: code, text and JSON.
pub(super) fn reason_columns<'a>(
    reason: Option<&'a Reason>,
    column: &'static str,
) -> Result<ReasonColumns<'a>, DatabaseError> {
    let Some(reason) = reason else { return Ok((None, None, None)) };
    Ok((Some(reason.code.as_str()), Some(reason.text.as_str()), Some(to_json(reason, column)?)))
}

/// Reads a release's reasons out of `reason`, which is all their text, and `reasons`, their JSON.
pub(super) fn reasons(row: &Row) -> Result<Vec<Reason>, DatabaseError> {
    let Some(text) = get::<Option<String>>(row, "reason")? else { return Ok(Vec::new()) };
    Ok(wire::reason::all_from_columns(get(row, "reasons")?, text))
}

/// Converts a release's reasons for `reason` and `reasons`; null if there are none.
pub(super) fn reasons_columns(
    reasons: &[Reason],
) -> Result<(Option<String>, Option<serde_json::Value>), DatabaseError> {
    if reasons.is_empty() {
        return Ok((None, None));
    }
    let texts: Vec<&str> = reasons.iter().map(|r| r.text.as_str()).collect();
    Ok((Some(texts.join(" ")), Some(to_json(&reasons, "reasons")?)))
}
