//! Bringing the schema up to date. One process at a time, in the order of arrival.

use deadpool_postgres::Pool;

use super::{DatabaseError, connection};

mod kit {
    refinery::embed_migrations!("migrations");
}

/// The advisory lock under which migrations run: any fixed number, the same in every program.
const LOCK: &str = "SELECT pg_advisory_lock(7001700270037004)";
const UNLOCK: &str = "SELECT pg_advisory_unlock(7001700270037004)";

/// Runs the kit's own migrations (jobs, events), then the program's `runner`.
///
/// # Errors
/// A migration failed; nothing of it is applied.
pub async fn migrate(pool: &Pool, runner: refinery::Runner) -> Result<(), DatabaseError> {
    let mut client = connection(pool).await?;
    let failed = |source| DatabaseError::Statement { statement: "migration lock", source };
    client.simple_query(LOCK).await.map_err(failed)?;
    let mut kit = kit::migrations::runner();
    kit.set_migration_table_name("refinery_kit_history");
    let mut result = kit.run_async(&mut **client).await;
    if result.is_ok() {
        result = runner.run_async(&mut **client).await;
    }
    client.simple_query(UNLOCK).await.map_err(failed)?;
    let report = result.map_err(|e| DatabaseError::Migrate(Box::new(e)))?;
    for migration in report.applied_migrations() {
        tracing::info!(migration = %migration, "schema migrated");
    }
    Ok(())
}

/// Runs only the kit's own migrations.
///
/// # Errors
/// As [`migrate`].
pub async fn migrate_kit(pool: &Pool) -> Result<(), DatabaseError> {
    migrate(pool, refinery::Runner::new(&[])).await
}
