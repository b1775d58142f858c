//! PostgreSQL: one file per table, free functions, every statement declared by name.
//!
//! No SQL stands anywhere else, and no rule stands here: a function reads or writes what its name says.

pub mod artifacts;
pub mod assignments;
pub mod branch_audits;
pub mod branch_stores;
pub mod branches;
pub mod delayed_plans;
pub mod denied_names;
pub mod facts;
pub mod held_reports;
pub mod incidents;
pub mod payloads;
pub mod plan_refusals;
pub mod plans;
pub mod releases;
pub mod reports;
pub mod reused_numbers;
mod row;
pub mod signatures;
pub mod terminal_packages;
pub mod terminal_refusals;
pub mod terminals;
pub mod torrent_renewals;
pub mod updates;

pub use access::db::{audit, operators, sessions, tokens};
use service_kit::database::{DatabaseError, Pool, Statement, jobs, outbox};

mod embedded {
    refinery::embed_migrations!("migrations");
}

/// Every statement of head office, for the test that prepares them all.
pub const STATEMENTS: &[&[Statement]] = &[
    artifacts::STATEMENTS,
    assignments::STATEMENTS,
    audit::STATEMENTS,
    branch_audits::STATEMENTS,
    branch_stores::STATEMENTS,
    branches::STATEMENTS,
    delayed_plans::STATEMENTS,
    denied_names::STATEMENTS,
    facts::STATEMENTS,
    held_reports::STATEMENTS,
    incidents::STATEMENTS,
    jobs::STATEMENTS,
    operators::STATEMENTS,
    outbox::STATEMENTS,
    payloads::STATEMENTS,
    plan_refusals::STATEMENTS,
    plans::STATEMENTS,
    releases::STATEMENTS,
    reports::STATEMENTS,
    reused_numbers::STATEMENTS,
    sessions::STATEMENTS,
    signatures::STATEMENTS,
    terminal_packages::STATEMENTS,
    terminal_refusals::STATEMENTS,
    terminals::STATEMENTS,
    tokens::STATEMENTS,
    torrent_renewals::STATEMENTS,
    updates::STATEMENTS,
];

/// Brings the schema up to date.
///
/// # Errors
/// A migration failed; nothing of it is applied.
pub async fn migrate(pool: &Pool) -> Result<(), DatabaseError> {
    // Released as V7 and V8: their names belong to their checksums.
    let all = access::db::with_tables(&embedded::migrations::runner(), "V7__operators", "V8__audit");
    service_kit::database::migrate(pool, all.map_err(|e| DatabaseError::Migrate(Box::new(e)))?).await
}
