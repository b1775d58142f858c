//! The pool of connections.

use std::str::FromStr;
use std::time::Duration;

use deadpool_postgres::{Manager, ManagerConfig, Object, Pool, RecyclingMethod, Runtime, Timeouts};
use tokio_postgres::{NoTls, SimpleQueryMessage};

use super::DatabaseError;
use crate::edge::chain;
use crate::retry::Backoff;
use crate::{Secret, Shutdown};

/// Where PostgreSQL is.
#[derive(Debug, Clone)]
pub struct DatabaseSettings {
    /// `postgresql://user@/database?host=/run/postgresql`, or key=value pairs.
    pub url: Secret,
    /// The password, if it is not in the URL.
    pub password: Option<Secret>,
    /// Most connections.
    pub pool_size: usize,
}

impl DatabaseSettings {
    /// A small pool at `url`.
    pub fn new(url: impl Into<String>) -> Self {
        Self { url: Secret::new(url), password: None, pool_size: 16 }
    }

    pub(crate) fn config(&self) -> Result<tokio_postgres::Config, DatabaseError> {
        let mut config = tokio_postgres::Config::from_str(self.url.expose()).map_err(DatabaseError::Url)?;
        if let Some(password) = &self.password {
            config.password(password.expose());
        }
        config.connect_timeout(Duration::from_secs(5));
        Ok(config)
    }
}

/// Attempts between two warnings; about five minutes.
const WARN_EVERY: u32 = 60;

/// A pool, once PostgreSQL answers: tries until it does, or until shutdown.
///
/// # Errors
/// The settings are wrong, the database is not in UTF-8 or its sessions are shared, or stopping was asked for.
pub async fn connect(settings: &DatabaseSettings, shutdown: &Shutdown) -> Result<Pool, DatabaseError> {
    let manager =
        Manager::from_config(settings.config()?, NoTls, ManagerConfig { recycling_method: RecyclingMethod::Fast });
    let wait = Some(Duration::from_secs(5));
    let pool = Pool::builder(manager)
        .max_size(settings.pool_size)
        .runtime(Runtime::Tokio1)
        .timeouts(Timeouts { wait, create: wait, recycle: wait })
        .build()
        .map_err(DatabaseError::Build)?;
    let mut backoff = Backoff::new(Duration::from_millis(250), Duration::from_secs(5));
    loop {
        match look(&pool).await {
            Ok(Found { encoding, .. }) if encoding != "UTF8" => return Err(DatabaseError::Encoding(encoding)),
            Ok(Found { shared_sessions: true, .. }) => return Err(DatabaseError::SharedSessions),
            Ok(Found { .. }) => {
                if backoff.failures() > 0 {
                    tracing::info!(attempts = backoff.failures(), "PostgreSQL answers");
                }
                return Ok(pool);
            }
            Err(error) => {
                // Rarely: hours of the same line would hide everything else.
                if backoff.failures().is_multiple_of(WARN_EVERY) {
                    tracing::warn!(
                        error = %chain(&error),
                        "PostgreSQL cannot be used; retrying. Check database.url in the configuration, and that PostgreSQL runs"
                    );
                } else {
                    tracing::debug!(error = %chain(&error), attempt = backoff.failures(), "and it still does not");
                }
                let wait = backoff.next();
                if !shutdown.wait(wait).await {
                    return Err(DatabaseError::Stopped);
                }
            }
        }
    }
}

/// A connection out of the pool.
///
/// # Errors
/// PostgreSQL gives none in time.
pub async fn connection(pool: &Pool) -> Result<Object, DatabaseError> {
    pool.get().await.map_err(|e| DatabaseError::Connection(Box::new(e)))
}

/// What a start must know of the database.
struct Found {
    /// Its encoding, in PostgreSQL's words.
    encoding: String,
    /// Connections do not keep their sessions, as behind a pooler that hands them over after each transaction.
    shared_sessions: bool,
}

async fn look(pool: &Pool) -> Result<Found, DatabaseError> {
    let error = |source| DatabaseError::Statement { statement: "look at a start", source };
    // Out of the pool for good: they are left in the middle of something.
    let (first, second) = (Object::take(connection(pool).await?), Object::take(connection(pool).await?));
    // Without prepared statements: a pooler may lose them. The second connection holds a session while the first is
    // asked for its own.
    first.simple_query("SET filial.session = 'first'").await.map_err(error)?;
    second.simple_query("BEGIN").await.map_err(error)?;
    let other = value(&second.simple_query(SESSION).await.map_err(error)?);
    let own = match other.is_empty() {
        true => value(&first.simple_query(SESSION).await.map_err(error)?),
        // The first may have to wait for the session that the second holds.
        false => String::new(),
    };
    let encoding = value(&second.simple_query("SHOW server_encoding").await.map_err(error)?);
    Ok(Found { encoding, shared_sessions: own != "first" })
}

/// Reads the mark of a session; empty if it has none.
const SESSION: &str = "SELECT COALESCE(current_setting('filial.session', true), '')";

/// The first value of an answer.
fn value(answer: &[SimpleQueryMessage]) -> String {
    let row = answer.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => row.get(0),
        _ => None,
    });
    row.unwrap_or_default().to_owned()
}

/// Whether PostgreSQL answers.
///
/// # Errors
/// It does not.
pub async fn ping(pool: &Pool) -> Result<(), DatabaseError> {
    let client = connection(pool).await?;
    client
        .simple_query("SELECT 1")
        .await
        .map(drop)
        .map_err(|source| DatabaseError::Statement { statement: "ping", source })
}

/// Begins a transaction; dropped without [`commit`], it is undone.
///
/// # Errors
/// PostgreSQL is gone.
pub async fn begin(client: &mut Object) -> Result<deadpool_postgres::Transaction<'_>, DatabaseError> {
    client.transaction().await.map_err(|e| DatabaseError::Transaction("begin", e))
}

/// Commits.
///
/// # Errors
/// PostgreSQL is gone or refused; then nothing of it happened, or it is unknown whether it did.
pub async fn commit(transaction: deadpool_postgres::Transaction<'_>) -> Result<(), DatabaseError> {
    transaction.commit().await.map_err(|e| DatabaseError::Transaction("commit", e))
}
