//! Converts columns into the program's types.

use std::error::Error as StdError;

use fleet_types::{Digest, InfoHash};
use service_kit::database::DatabaseError;
pub(super) use service_kit::database::columns::{get, reason, signed, text as parsed, unsigned};
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;
use wire::Reason;

pub(super) type Params<'a> = &'a [&'a (dyn ToSql + Sync)];

/// A nullable text column as a type that checks it.
pub(super) fn parsed_opt<T>(row: &Row, column: &'static str) -> Result<Option<T>, DatabaseError>
where
    T: std::str::FromStr<Err: StdError + Send + Sync + 'static>,
{
    let text = get::<Option<&str>>(row, column)?;
    text.map(str::parse).transpose().map_err(|e: T::Err| DatabaseError::value(column, e))
}

/// A reason as JSON for a column.
pub(super) fn reason_json(
    reason: Option<&Reason>,
    column: &'static str,
) -> Result<Option<serde_json::Value>, DatabaseError> {
    reason.map(serde_json::to_value).transpose().map_err(|e| DatabaseError::unwritable(column, e))
}

/// A column of bytes as a SHA-256 digest.
pub(super) fn digest(row: &Row, column: &'static str) -> Result<Digest, DatabaseError> {
    let bytes: [u8; 32] = get::<&[u8]>(row, column)?.try_into().map_err(|e| DatabaseError::value(column, e))?;
    Ok(Digest::new(bytes))
}

/// A nullable column of bytes as a SHA-256 digest.
pub(super) fn digest_opt(row: &Row, column: &'static str) -> Result<Option<Digest>, DatabaseError> {
    let bytes = get::<Option<&[u8]>>(row, column)?;
    let digest = |bytes: &[u8]| bytes.try_into().map(|b: [u8; 32]| Digest::new(b));
    bytes.map(digest).transpose().map_err(|e| DatabaseError::value(column, e))
}

/// A column of bytes as an info hash.
pub(super) fn info_hash(row: &Row, column: &'static str) -> Result<InfoHash, DatabaseError> {
    let bytes: [u8; 20] = get::<&[u8]>(row, column)?.try_into().map_err(|e| DatabaseError::value(column, e))?;
    Ok(InfoHash::new(bytes))
}
