//! The database: one file per table, free functions, and all SQL of this program.
//!
//! Nothing here decides anything. A function takes a client or a transaction, so that its caller chooses what commits
//! together. Every statement is declared with `statements!`; a test prepares them all against the migrated schema.

pub mod artifacts;
pub mod manifests;
pub mod moves;
pub mod plan;
pub mod relay_queue;
pub mod report_epochs;
pub mod site;
pub mod terminals;
pub mod updates;

use std::error::Error as StdError;

use fleet_types::{Digest, InfoHash};
use service_kit::database::{DatabaseError, Pool, Statement, Transaction};
use tokio_postgres::Row;
use tokio_postgres::types::{FromSql, ToSql};

type Params<'a> = &'a [&'a (dyn ToSql + Sync)];

mod embedded {
    refinery::embed_migrations!("migrations");
}

/// Every table's statements, for the test that prepares them.
pub const STATEMENTS: &[&[Statement]] = &[
    artifacts::STATEMENTS,
    manifests::STATEMENTS,
    moves::STATEMENTS,
    plan::STATEMENTS,
    relay_queue::STATEMENTS,
    report_epochs::STATEMENTS,
    site::STATEMENTS,
    terminals::STATEMENTS,
    updates::STATEMENTS,
];

/// Brings the schema up to date.
///
/// # Errors
/// A migration failed; the previous version still runs against the schema.
pub async fn migrate(pool: &Pool) -> Result<(), DatabaseError> {
    service_kit::database::migrate(pool, embedded::migrations::runner()).await
}

/// Begins a transaction on `connection`.
///
/// # Errors
/// PostgreSQL refused or is gone.
pub async fn begin(connection: &mut service_kit::database::Connection) -> Result<Transaction<'_>, DatabaseError> {
    connection.transaction().await.map_err(|e| DatabaseError::Transaction("begin", e))
}

/// Commits a transaction.
///
/// # Errors
/// PostgreSQL refused or is gone: nothing of it happened.
pub async fn commit(tx: Transaction<'_>) -> Result<(), DatabaseError> {
    tx.commit().await.map_err(|e| DatabaseError::Transaction("commit", e))
}

/// The value of a column.
fn get<'r, T: FromSql<'r>>(row: &'r Row, column: &'static str) -> Result<T, DatabaseError> {
    row.try_get(column).map_err(|e| DatabaseError::value(column, e))
}

/// A text column as a type that checks it.
fn parsed<T>(row: &Row, column: &'static str) -> Result<T, DatabaseError>
where
    T: std::str::FromStr<Err: StdError + Send + Sync + 'static>,
{
    get::<&str>(row, column)?.parse().map_err(|e: T::Err| DatabaseError::value(column, e))
}

/// A nullable text column as a type that checks it.
fn parsed_opt<T>(row: &Row, column: &'static str) -> Result<Option<T>, DatabaseError>
where
    T: std::str::FromStr<Err: StdError + Send + Sync + 'static>,
{
    let text = get::<Option<&str>>(row, column)?;
    text.map(str::parse).transpose().map_err(|e: T::Err| DatabaseError::value(column, e))
}

/// A column of bytes as a SHA-256 digest.
fn digest(row: &Row, column: &'static str) -> Result<Digest, DatabaseError> {
    let bytes: [u8; 32] = get::<&[u8]>(row, column)?.try_into().map_err(|e| DatabaseError::value(column, e))?;
    Ok(Digest::new(bytes))
}

/// A nullable column of bytes as a SHA-256 digest.
fn digest_opt(row: &Row, column: &'static str) -> Result<Option<Digest>, DatabaseError> {
    let bytes = get::<Option<&[u8]>>(row, column)?;
    let digest = |bytes: &[u8]| bytes.try_into().map(|b: [u8; 32]| Digest::new(b));
    bytes.map(digest).transpose().map_err(|e| DatabaseError::value(column, e))
}

/// A column of bytes as an info hash.
fn info_hash(row: &Row, column: &'static str) -> Result<InfoHash, DatabaseError> {
    let bytes: [u8; 20] = get::<&[u8]>(row, column)?.try_into().map_err(|e| DatabaseError::value(column, e))?;
    Ok(InfoHash::new(bytes))
}

/// A bigint column that is never negative.
fn unsigned(row: &Row, column: &'static str) -> Result<u64, DatabaseError> {
    get::<i64>(row, column)?.try_into().map_err(|e| DatabaseError::value(column, e))
}

/// A count for a bigint column. What comes in from outside was bounded before; beyond it the largest stands.
fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
