//! PostgreSQL: one file per table, free functions, every statement declared by name.
//!
//! No SQL stands anywhere else, and no rule stands here: a function reads or writes what its name says.

pub mod artifacts;
pub mod assignments;
pub mod audit;
pub mod branch_stores;
pub mod branches;
pub mod facts;
pub mod incidents;
pub mod operators;
pub mod payloads;
pub mod plan_refusals;
pub mod plans;
pub mod releases;
pub mod reports;
pub mod sessions;
pub mod signatures;
pub mod terminal_packages;
pub mod terminal_refusals;
pub mod terminals;
pub mod tokens;
pub mod updates;

use std::error::Error;
use std::str::FromStr;

use service_kit::database::{DatabaseError, Pool, Statement, jobs, outbox};
use tokio_postgres::Row;

mod embedded {
    refinery::embed_migrations!("migrations");
}

/// Every statement of head office, for the test that prepares them all.
pub const STATEMENTS: &[&[Statement]] = &[
    artifacts::STATEMENTS,
    assignments::STATEMENTS,
    audit::STATEMENTS,
    branch_stores::STATEMENTS,
    branches::STATEMENTS,
    facts::STATEMENTS,
    incidents::STATEMENTS,
    jobs::STATEMENTS,
    operators::STATEMENTS,
    outbox::STATEMENTS,
    payloads::STATEMENTS,
    plan_refusals::STATEMENTS,
    plans::STATEMENTS,
    releases::STATEMENTS,
    reports::STATEMENTS,
    sessions::STATEMENTS,
    signatures::STATEMENTS,
    terminal_packages::STATEMENTS,
    terminal_refusals::STATEMENTS,
    terminals::STATEMENTS,
    tokens::STATEMENTS,
    updates::STATEMENTS,
];

/// Brings the schema up to date.
///
/// # Errors
/// A migration failed; nothing of it is applied.
pub async fn migrate(pool: &Pool) -> Result<(), DatabaseError> {
    service_kit::database::migrate(pool, embedded::migrations::runner()).await
}

fn text<T>(row: &Row, column: &'static str) -> Result<T, DatabaseError>
where
    T: FromStr<Err: Error + Send + Sync + 'static>,
{
    let text: &str = row.try_get(column).map_err(|e| DatabaseError::value(column, e))?;
    text.parse().map_err(|e| DatabaseError::value(column, e))
}

fn text_opt<T>(row: &Row, column: &'static str) -> Result<Option<T>, DatabaseError>
where
    T: FromStr<Err: Error + Send + Sync + 'static>,
{
    let text: Option<&str> = row.try_get(column).map_err(|e| DatabaseError::value(column, e))?;
    text.map(|t| t.parse().map_err(|e| DatabaseError::value(column, e))).transpose()
}

fn get<'a, T: tokio_postgres::types::FromSql<'a>>(row: &'a Row, column: &'static str) -> Result<T, DatabaseError> {
    row.try_get(column).map_err(|e| DatabaseError::value(column, e))
}

fn json<T: serde::de::DeserializeOwned>(row: &Row, column: &'static str) -> Result<Option<T>, DatabaseError> {
    let value: Option<serde_json::Value> = get(row, column)?;
    value.map(|v| serde_json::from_value(v).map_err(|e| DatabaseError::value(column, e))).transpose()
}

fn to_json<T: serde::Serialize>(value: &T, column: &'static str) -> Result<serde_json::Value, DatabaseError> {
    serde_json::to_value(value).map_err(|e| DatabaseError::value(column, e))
}

/// PostgreSQL has no unsigned numbers; ours are lengths, counts and serials far below 2^63.
fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn unsigned(row: &Row, column: &'static str) -> Result<u64, DatabaseError> {
    let value: i64 = get(row, column)?;
    u64::try_from(value).map_err(|e| DatabaseError::value(column, e))
}
