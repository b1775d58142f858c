//! The operators of this branch: what the crate [`access`] needs, and the one import of the tokens file.

use std::path::Path;
use std::sync::Arc;

use access::anchor::Anchor;
use access::audit::Audit;
use access::guesses::Guesses;
use access::import;
use access::passwords::{PasswordError, Passwords};
use access::token_pace::TokenPace;
use access::{Access, BRANCH_SERVER};
use service_kit::Clock;
use service_kit::config::ConfigError;
use service_kit::database::{DatabaseError, Pool, begin, commit, connection};
use service_kit::server::Metrics;
use tokio::task::{JoinError, spawn_blocking};

use crate::config::Settings;
use crate::db::site;

/// Why the branch's operators cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum OperatorsError {
    /// The tokens file.
    #[error("the file of operators' tokens is not usable")]
    TokensFile(#[from] ConfigError),
    /// PostgreSQL.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// Passwords cannot be compared.
    #[error(transparent)]
    Passwords(#[from] PasswordError),
    /// A thread failed.
    #[error("an internal task failed")]
    Worker(#[from] JoinError),
}

/// Opens the audit, imports the tokens file if that was never done, and puts together what the routes use.
///
/// # Errors
/// As [`OperatorsError`].
pub async fn open(
    settings: &Settings,
    pool: &Pool,
    clock: &Arc<dyn Clock>,
    metrics: &Metrics,
    groups: Vec<String>,
) -> Result<Arc<Access>, OperatorsError> {
    let metrics = metrics.clone();
    let passwords = spawn_blocking(move || Passwords::new(&metrics)).await??;
    if let Some(file) = &settings.operators.tokens_file {
        import_tokens(pool, file, &**clock).await?;
    }
    let client = connection(pool).await?;
    if access::db::operators::count(&client).await? == 0 {
        tracing::warn!("no operator is known here: create the first admin with `branch-server bootstrap`");
    }
    // After the import, so that it is anchored too.
    let anchor = Anchor::open(&client, &settings.state_folder).await?;
    Ok(Arc::new(Access {
        server: BRANCH_SERVER,
        settings: settings.operators.access,
        pool: pool.clone(),
        clock: clock.clone(),
        state_folder: settings.state_folder.clone(),
        passwords,
        guesses: Guesses::default(),
        token_pace: TokenPace::default(),
        audit: Arc::new(Audit::new(clock.clone(), anchor)),
        groups,
    }))
}

/// Imports the tokens file once; from then on the database alone says who may come in.
async fn import_tokens(pool: &Pool, file: &Path, clock: &dyn Clock) -> Result<(), OperatorsError> {
    let mut client = connection(pool).await?;
    let tx = begin(&mut client).await?;
    // Held until the end: of two programs that start at once, one imports.
    if let Some(at) = site::lock(&tx).await?.tokens_imported {
        let on = at.format("%Y-%m-%d");
        tracing::info!(
            file = %file.display(),
            "operators.tokens_file is ignored: it was imported on {on}. Delete the file and the setting"
        );
        return Ok(());
    }
    if !file.exists() {
        tracing::warn!(file = %file.display(), "operators.tokens_file names no file: nothing is imported");
        return Ok(());
    }
    let path = file.to_owned();
    let entries = spawn_blocking(move || import::read(&path)).await??;
    let (count, now) = (entries.len(), clock.now());
    import::import(&tx, BRANCH_SERVER, entries, now).await?;
    site::set_tokens_imported(&tx, now).await?;
    commit(tx).await?;
    tracing::warn!(
        file = %file.display(), tokens = count,
        "operators' tokens were imported and expire in {} days; the file is not read again. Create operators before: \
         `branch-server bootstrap`, `filial operator add --at BRANCH`",
        import::DAYS
    );
    Ok(())
}
