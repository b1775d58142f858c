//! The token that terminals of this branch enrol with: one line for all of them, which goes into their images. It names the
//! fleet's authority, by which a terminal knows this server, so it can be made only once this server itself enrolled.
//!
//! The token grants a certificate for a new name only: a registered name stays with its key
//! ([`crate::terminals::enrol`]). It counts for a limited time and a limited number of terminals. Denying a terminal replaces it, as the
//! terminal has it on its disk; without its file, or with that of a token that was replaced, the next start makes a new one.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use chrono::{DateTime, TimeDelta, Utc};
use fleet_types::Digest;
use service_kit::Secret;
use service_kit::config::{ConfigError, read_secret_file};
use service_kit::database::{DatabaseError, GenericClient, Pool, Transaction, begin, connection};
use service_kit::durable::{self, DurableError};
use service_kit::server::ApiError;
use service_kit::token::{self, MAX_TOKEN_LEN};
use tokio::task::{JoinError, spawn_blocking};
use trust::Refusal;
use trust::certificates::JoinToken;
use wire::Code;

use crate::config::TerminalSettings;
use crate::db::site;

/// The remedy for a join token that is refused.
const TAKE_IT: &str = "Use the branch server's current join token, in the file `terminals.join_token_file`.";

/// The remedy for a join token that is used up.
const REPLACE_IT: &str = "At the branch server, remove the file `terminals.join_token_file`, restart the branch server, and put the new \
    token into the images.";

/// Why there is no token for terminals.
#[derive(Debug, thiserror::Error)]
pub enum JoinTokenError {
    /// It is there and cannot be read.
    #[error("the terminals' join token cannot be read")]
    Read(#[from] ConfigError),
    /// It is there, and no secret.
    #[error("the terminals' join token is not valid: remove its file and restart; a new token is generated")]
    Unusable(#[source] Refusal),
    /// It cannot be written.
    #[error("the terminals' join token cannot be written")]
    Write(#[from] DurableError),
    /// The database.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// A task of ours broke.
    #[error("an internal task failed: see the log")]
    Task(#[from] JoinError),
}

/// The token, once it was taken up.
#[derive(Debug)]
pub struct Join {
    file: PathBuf,
    life: TimeDelta,
    uses: u64,
    held: Mutex<Option<Held>>,
    /// One change at a time: the file and what is held must be of the same token.
    changes: tokio::sync::Mutex<()>,
}

#[derive(Debug, Clone)]
struct Held {
    authority: Digest,
    /// SHA-256 of the secret part.
    secret: Digest,
    until: DateTime<Utc>,
}

impl Join {
    /// As the settings have it. Nothing is read yet.
    pub fn new(settings: &TerminalSettings) -> Self {
        let TerminalSettings { join_token_file, join_token_life: life, join_token_uses: uses, .. } = settings;
        Self {
            file: join_token_file.clone(),
            life: *life,
            uses: *uses,
            held: Mutex::default(),
            changes: tokio::sync::Mutex::default(),
        }
    }

    fn held(&self) -> Option<Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Loads the token for the fleet with this authority, or generates it. Later calls do nothing.
    ///
    /// # Errors
    /// It cannot be read, used or written.
    pub async fn load(&self, pool: &Pool, authority: Digest, now: DateTime<Utc>) -> Result<(), JoinTokenError> {
        let is_here = || self.held().is_some_and(|held| held.authority == authority);
        if is_here() {
            return Ok(());
        }
        let _turn = self.changes.lock().await;
        if is_here() {
            return Ok(());
        }
        let (file, client) = (self.file.clone(), connection(pool).await?);
        let mut token = spawn_blocking(move || kept(&file, authority)).await??;
        if site::is_replaced_join(&client, &token::hash(token.secret.expose())).await? {
            let file = self.file.clone();
            tracing::warn!(file = %file.display(), "the join token in the file was replaced before; a new one takes its place");
            token = spawn_blocking(move || made(&file, token::generate("terminals"), authority)).await??;
        }
        self.hold(&token, since(&client, &token, now).await?);
        Ok(())
    }

    /// Checks the secret part of a token.
    ///
    /// # Errors
    /// It is another one, or the token expired.
    pub fn check(&self, secret: &str, now: DateTime<Utc>) -> Result<(), ApiError> {
        let held = self.held().filter(|_| secret.len() <= MAX_TOKEN_LEN);
        // Hashes are compared, so what a stranger could time is nothing that they can steer.
        let Some(held) = held.filter(|held| token::hash(secret) == held.secret) else {
            let detail = "The join token is not valid at this branch.";
            return Err(ApiError::new(Code::JoinRefused, detail, TAKE_IT));
        };
        if now < held.until {
            return Ok(());
        }
        let detail = format!("The join token expired at {}.", held.until.format("%Y-%m-%d %H:%M UTC"));
        Err(ApiError::new(Code::JoinExpired, detail, REPLACE_IT))
    }

    /// Counts one more terminal that enrols with the token, in the transaction that lets it in.
    ///
    /// # Errors
    /// As many have as may, or the token was replaced meanwhile.
    pub async fn count(&self, tx: &impl GenericClient, secret: &str, now: DateTime<Utc>) -> Result<(), ApiError> {
        if site::use_join(tx, &token::hash(secret), self.uses).await? {
            return Ok(());
        }
        self.check(secret, now)?;
        let detail = format!("Limit reached: this join token has let in {} terminals.", self.uses);
        Err(ApiError::new(Code::JoinExpired, detail, REPLACE_IT))
    }

    /// Replaces the token: machines that have the present one can no longer enrol with it. `false` before there is one.
    ///
    /// The new one is in its file then; `finish` commits the transaction in which it counts.
    ///
    /// # Errors
    /// The new one cannot be written.
    pub async fn replace(
        &self,
        pool: &Pool,
        now: DateTime<Utc>,
        finish: impl AsyncFnOnce(Transaction<'_>) -> Result<(), DatabaseError>,
    ) -> Result<bool, JoinTokenError> {
        let _turn = self.changes.lock().await;
        let Some(Held { authority, .. }) = self.held() else { return Ok(false) };
        let file = self.file.clone();
        let token = spawn_blocking(move || made(&file, token::generate("terminals"), authority)).await??;
        let mut client = connection(pool).await?;
        let tx = begin(&mut client).await?;
        let since = since(&tx, &token, now).await?;
        finish(tx).await?;
        self.hold(&token, since);
        Ok(true)
    }

    /// Takes a token up that its file holds, and that counts since then.
    fn hold(&self, token: &JoinToken, since: DateTime<Utc>) {
        let secret = token::hash(token.secret.expose());
        let held = Held { authority: token.authority, secret, until: since + self.life };
        *self.held.lock().unwrap_or_else(PoisonError::into_inner) = Some(held);
    }
}

/// Since when a token counts: now, if another one did before.
async fn since(
    client: &impl GenericClient,
    token: &JoinToken,
    now: DateTime<Utc>,
) -> Result<DateTime<Utc>, DatabaseError> {
    site::join_since(client, &token::hash(token.secret.expose()), now).await
}

/// Writes a new token into the file. Blocking.
fn made(file: &Path, secret: Secret, authority: Digest) -> Result<JoinToken, JoinTokenError> {
    let token = JoinToken::new(secret, authority).map_err(JoinTokenError::Unusable)?;
    durable::write_secret_file(file, format!("{}\n", token.to_text().expose()).as_bytes())?;
    Ok(token)
}

/// Reads the token of the file, or generates it; written again if it does not name this authority. Blocking.
///
/// # Errors
/// It cannot be read, used or written.
pub fn kept(file: &Path, authority: Digest) -> Result<JoinToken, JoinTokenError> {
    let there = file.try_exists().unwrap_or(true);
    let text = if there { read_secret_file(file)? } else { token::generate("terminals") };
    let (token, whole) = match JoinToken::parse(&text) {
        Ok(token) => {
            let whole = token.authority == authority;
            (JoinToken { authority, ..token }, whole)
        }
        Err(_) => (JoinToken::new(text, authority).map_err(JoinTokenError::Unusable)?, false),
    };
    if !whole {
        durable::write_secret_file(file, format!("{}\n", token.to_text().expose()).as_bytes())?;
        let what = if there { "completed" } else { "made" };
        tracing::info!(file = %file.display(), what, "join token for the terminals of this branch");
    }
    Ok(token)
}
