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
pub mod reused_numbers;
mod rows;
pub mod site;
pub mod terminals;
pub mod updates;

use access::db::{audit, operators, sessions, tokens};
use service_kit::database::{DatabaseError, Pool, Statement};

mod embedded {
    refinery::embed_migrations!("migrations");
}

/// Every table's statements, for the test that prepares them.
pub const STATEMENTS: &[&[Statement]] = &[
    artifacts::STATEMENTS,
    audit::STATEMENTS,
    manifests::STATEMENTS,
    moves::STATEMENTS,
    operators::STATEMENTS,
    plan::STATEMENTS,
    relay_queue::STATEMENTS,
    report_epochs::STATEMENTS,
    reused_numbers::STATEMENTS,
    sessions::STATEMENTS,
    site::STATEMENTS,
    terminals::STATEMENTS,
    tokens::STATEMENTS,
    updates::STATEMENTS,
];

/// Brings the schema up to date.
///
/// # Errors
/// A migration failed; the previous version still runs against the schema.
pub async fn migrate(pool: &Pool) -> Result<(), DatabaseError> {
    let all = access::db::with_tables(&embedded::migrations::runner(), "V8__operators", "V9__audit");
    service_kit::database::migrate(pool, all.map_err(|e| DatabaseError::Migrate(Box::new(e)))?).await
}
