//! Statements as values with names, so that errors name them and a test can prepare them all.

use deadpool_postgres::GenericClient;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::DatabaseError;

/// An SQL statement and its name in the source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Statement {
    /// Its name.
    pub name: &'static str,
    /// Its text.
    pub sql: &'static str,
}

/// Declares a file's statements as constants and lists them all in `STATEMENTS`.
///
/// ```
/// service_kit::statements! {
///     COUNT = "SELECT count(*) FROM jobs";
/// }
/// assert_eq!(STATEMENTS, [COUNT]);
/// ```
#[macro_export]
macro_rules! statements {
    ($($(#[$doc:meta])* $name:ident = $sql:expr;)+) => {
        $($(#[$doc])* const $name: $crate::database::Statement =
            $crate::database::Statement { name: concat!(module_path!(), "::", stringify!($name)), sql: $sql };)+
        /// Every statement of this file, for the test that prepares them.
        pub const STATEMENTS: &[$crate::database::Statement] = &[$($name),+];
    };
}

type Params<'a> = &'a [&'a (dyn ToSql + Sync)];

/// All rows.
///
/// # Errors
/// PostgreSQL refused or is gone.
pub async fn query<C: GenericClient>(
    c: &C,
    statement: Statement,
    params: Params<'_>,
) -> Result<Vec<Row>, DatabaseError> {
    let failed = |source| DatabaseError::Statement { statement: statement.name, source };
    let prepared = c.prepare_cached(statement.sql).await.map_err(failed)?;
    c.query(&prepared, params).await.map_err(failed)
}

/// At most one row.
///
/// # Errors
/// As [`query`]; also for more than one row.
pub async fn query_opt<C: GenericClient>(
    c: &C,
    statement: Statement,
    params: Params<'_>,
) -> Result<Option<Row>, DatabaseError> {
    let failed = |source| DatabaseError::Statement { statement: statement.name, source };
    let prepared = c.prepare_cached(statement.sql).await.map_err(failed)?;
    c.query_opt(&prepared, params).await.map_err(failed)
}

/// Exactly one row.
///
/// # Errors
/// As [`query`]; also for none or several.
pub async fn query_one<C: GenericClient>(
    c: &C,
    statement: Statement,
    params: Params<'_>,
) -> Result<Row, DatabaseError> {
    let failed = |source| DatabaseError::Statement { statement: statement.name, source };
    let prepared = c.prepare_cached(statement.sql).await.map_err(failed)?;
    c.query_one(&prepared, params).await.map_err(failed)
}

/// The number of rows changed.
///
/// # Errors
/// As [`query`].
pub async fn execute<C: GenericClient>(c: &C, statement: Statement, params: Params<'_>) -> Result<u64, DatabaseError> {
    let failed = |source| DatabaseError::Statement { statement: statement.name, source };
    let prepared = c.prepare_cached(statement.sql).await.map_err(failed)?;
    c.execute(&prepared, params).await.map_err(failed)
}

/// Prepares every statement against the schema; answers with the complaints. For tests.
pub async fn prepare_all<C: GenericClient>(c: &C, lists: &[&[Statement]]) -> Vec<String> {
    let mut complaints = Vec::new();
    for statement in lists.iter().copied().flatten() {
        if let Err(error) = c.prepare(statement.sql).await {
            complaints.push(format!("{}: {}", statement.name, crate::edge::chain(&error)));
        }
    }
    complaints
}
