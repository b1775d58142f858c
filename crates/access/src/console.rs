//! `bootstrap` and `recover` as commands of both programs: arguments, the files that they name, and the database.

use std::path::PathBuf;

use clap::Args;
use fleet_types::OperatorName;
use service_kit::config::{self, ConfigError};
use service_kit::database::{DatabaseError, DatabaseSettings, Pool, connect};
use service_kit::{Clock, Secret, Shutdown, durable, token};

use crate::Server;
use crate::bootstrap::{Bootstrap, BootstrapError};
use crate::recover::RecoverError;

/// Arguments of `bootstrap`.
#[derive(Debug, Args)]
pub struct BootstrapArgs {
    /// The operator's name.
    #[arg(long)]
    name: OperatorName,
    /// File with the password on the first line; - is standard input.
    ///
    /// Without it the admin is a service, which acts by its token alone.
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// Also create an API token and write it to this file, readable by its owner only.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Days until the token expires.
    #[arg(long, value_name = "DAYS", default_value_t = 90, value_parser = clap::value_parser!(u32).range(1..=366))]
    token_days: u32,
}

/// Why the files of a command cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConsoleError {
    /// The password cannot be read.
    #[error(transparent)]
    Password(#[from] ConfigError),
    /// The token would replace a file.
    #[error("{} exists already: remove it, or name another file", .0.display())]
    Exists(PathBuf),
    /// The token cannot be written.
    #[error(transparent)]
    Write(#[from] durable::DurableError),
}

/// What a bootstrap wants; its token is in its file.
pub struct Prepared {
    /// Who the first admin is to be.
    pub wish: Bootstrap,
    token_file: Option<PathBuf>,
}

impl BootstrapArgs {
    /// Reads the password and writes the token. Blocking.
    ///
    /// The token is written before the admin exists: an admin whose token could not be written would lock every operator out.
    ///
    /// # Errors
    /// As [`ConsoleError`].
    pub fn prepare(self) -> Result<Prepared, ConsoleError> {
        let Self { name, password_file, token_file, token_days } = self;
        let password = password_file.map(or_stdin).map(|path| config::read_secret_file(&path)).transpose()?;
        let token = token_file.as_ref().map(|_| (token::generate("filial"), token_days));
        if let (Some(path), Some((token, _))) = (&token_file, &token) {
            if path.exists() {
                return Err(ConsoleError::Exists(path.clone()));
            }
            durable::write_secret_file(path, format!("{}\n", token.expose()).as_bytes())?;
        }
        Ok(Prepared { wish: Bootstrap { name, password, token }, token_file })
    }
}

impl Prepared {
    /// Returns the sentence for the console; a refused bootstrap leaves no token behind.
    ///
    /// # Errors
    /// The one of `made`.
    pub fn settle<E>(self, made: Result<(), E>) -> Result<String, E> {
        if let (Err(_), Some(path)) = (&made, &self.token_file) {
            let _ = std::fs::remove_file(path);
        }
        made.map(|()| format!("{} is the first admin.", self.wish.name))
    }
}

/// Returns the path of standard input for `-`.
pub fn or_stdin(path: PathBuf) -> PathBuf {
    if path.as_os_str() == "-" { "/dev/stdin".into() } else { path }
}

/// Waits for PostgreSQL, brings the schema up to date by `migrate`, and makes the first admin.
///
/// Also beside a server that runs: that one brings the audit's anchor up to date with its next row, one that does not when it starts.
///
/// # Errors
/// There is an admin, or it cannot be done.
pub async fn bootstrap(
    server: Server,
    database: &DatabaseSettings,
    migrate: impl AsyncFnOnce(&Pool) -> Result<(), DatabaseError>,
    clock: &dyn Clock,
    wish: Bootstrap,
) -> Result<(), BootstrapError> {
    let pool = connect(database, &Shutdown::new()).await?;
    migrate(&pool).await?;
    crate::bootstrap::bootstrap(server, &pool, wish, clock.now()).await.map(drop)
}

/// Waits for PostgreSQL, brings the schema up to date by `migrate`, and gives an admin a new password.
///
/// Answers how many sessions ended and how many tokens were revoked.
///
/// # Errors
/// As [`RecoverError`].
pub async fn recover(
    server: Server,
    database: &DatabaseSettings,
    migrate: impl AsyncFnOnce(&Pool) -> Result<(), DatabaseError>,
    clock: &dyn Clock,
    name: &OperatorName,
    password: &Secret,
) -> Result<(u64, u64), RecoverError> {
    let pool = connect(database, &Shutdown::new()).await?;
    migrate(&pool).await?;
    crate::recover::recover(server, &pool, name, password, clock.now()).await
}
