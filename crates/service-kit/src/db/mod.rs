//! PostgreSQL: a pool that waits for the server, migrations, jobs with leases and the outbox of events.
//!
//! SQL lives in files that declare it with [`crate::statements!`], so that a test can prepare every statement.

pub mod columns;
pub mod jobs;
mod migrate;
pub mod outbox;
mod pool;
mod runner;
mod statements;
mod wakeups;

pub use deadpool_postgres::{GenericClient, Object as Connection, Pool, Transaction};
pub use migrate::{migrate, migrate_kit};
pub use pool::{DatabaseSettings, begin, commit, connect, connection, ping};
pub use runner::{JobContext, JobError, JobHandler, Runner, RunnerSettings};
pub use statements::{Statement, execute, prepare_all, query, query_one, query_opt};
pub use wakeups::Wakeups;

/// Why the database could not be used.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    /// The address is not one of PostgreSQL.
    #[error("database.url is not an address such as postgresql://filial@/filial?host=/run/postgresql")]
    Url(#[source] tokio_postgres::Error),
    /// No pool could be made.
    #[error("the database pool cannot be made")]
    Build(#[source] deadpool_postgres::BuildError),
    /// No connection could be had.
    #[error("PostgreSQL gives no connection")]
    Connection(#[source] Box<deadpool_postgres::PoolError>),
    /// A statement failed.
    #[error("the statement {statement} failed")]
    Statement {
        /// Its name in the source.
        statement: &'static str,
        /// What PostgreSQL said.
        #[source]
        source: tokio_postgres::Error,
    },
    /// A transaction could not begin or commit.
    #[error("a transaction could not {0}")]
    Transaction(&'static str, #[source] tokio_postgres::Error),
    /// A row holds a value that the program cannot read.
    #[error("column {column} holds a value that this version cannot read")]
    Value {
        /// Which column.
        column: &'static str,
        /// What is wrong.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A value has no form in which a column can hold it.
    #[error("a value cannot be written to column {column}: a defect of this version; report it with the cause")]
    Unwritable {
        /// Which column.
        column: &'static str,
        /// What is wrong.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The schema could not be brought up to date.
    #[error("the database schema could not be migrated: the previous version still runs against it")]
    Migrate(#[source] Box<refinery::Error>),
    /// The database cannot hold every text.
    #[error(
        "the database has the encoding {0}, in which names of other scripts cannot be stored: create one with ENCODING 'UTF8' TEMPLATE \
         template0 and name it in database.url"
    )]
    Encoding(String),
    /// Sessions of the database are shared between connections.
    #[error(
        "behind database.url is a pooler that shares sessions, such as PgBouncer with pool_mode = transaction, which loses prepared \
         statements and notifications: set pool_mode = session, or name PostgreSQL itself"
    )]
    SharedSessions,
    /// The program was asked to stop while it waited.
    #[error("asked to stop while waiting for PostgreSQL")]
    Stopped,
}

impl DatabaseError {
    /// A value that cannot be read, as an error.
    pub fn value(column: &'static str, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Value { column, source: source.into() }
    }

    /// A value that cannot be written, as an error.
    pub fn unwritable(column: &'static str, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Unwritable { column, source: source.into() }
    }

    /// Whether PostgreSQL was not there, so that the same may work later.
    pub fn is_unavailable(&self) -> bool {
        use tokio_postgres::error::SqlState;
        let broken = |e: &tokio_postgres::Error| {
            e.is_closed()
                || e.code().is_some_and(|c| {
                    [SqlState::ADMIN_SHUTDOWN, SqlState::CRASH_SHUTDOWN, SqlState::CANNOT_CONNECT_NOW].contains(c)
                })
                || (e.as_db_error().is_none() && std::error::Error::source(e).is_some_and(|s| s.is::<std::io::Error>()))
        };
        match self {
            Self::Connection(_) => true,
            Self::Statement { source, .. } | Self::Transaction(_, source) => broken(source),
            _ => false,
        }
    }
}
