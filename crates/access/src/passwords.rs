//! Passwords: what one may be, and how it is kept.

use std::time::Duration;

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use argon2::{Algorithm, Argon2, Params, Version};
use prometheus_client::metrics::counter::Counter;
use service_kit::Secret;
use service_kit::server::{ApiError, Metrics};
use tokio::sync::{Semaphore, SemaphorePermit};
use wire::Code;

/// Fewest characters.
///
/// No rule asks for kinds of characters: length is what counts (NIST SP 800-63B).
pub const MIN_CHARACTERS: usize = 12;
/// Most bytes.
pub const MAX_BYTES: usize = 256;

/// OWASP's Password Storage Cheat Sheet for argon2id: 19 MiB, two passes, one lane.
const MEMORY_KIB: u32 = 19 * 1024;
const PASSES: u32 = 2;
const LANES: u32 = 1;

/// Hashes that are computed at the same time.
///
/// What a flood of log-ins may take of memory and processors.
const AT_ONCE: usize = 2;
/// How long one waits for its turn.
const PATIENCE: Duration = Duration::from_secs(20);

/// Why passwords cannot be dealt with.
#[derive(Debug, thiserror::Error)]
pub enum PasswordError {
    /// The parameters or the system's randomness failed.
    #[error("a password could not be hashed: {0}")]
    Hash(String),
    /// A thread failed.
    #[error("a password could not be hashed")]
    Worker(#[from] tokio::task::JoinError),
}

/// Why a text did not become a password.
#[derive(Debug, thiserror::Error)]
pub enum NewPasswordError {
    /// It may not be one.
    #[error("the password {0}")]
    Refused(String),
    /// It could not be hashed.
    #[error(transparent)]
    Hash(#[from] PasswordError),
}

/// Returns the hash of a password that a command of the console sets.
///
/// # Errors
/// As [`NewPasswordError`].
pub fn hash_new(password: &Secret) -> Result<String, NewPasswordError> {
    check(password.expose()).map_err(NewPasswordError::Refused)?;
    Ok(hash_once(password.expose())?)
}

fn argon2() -> Result<Argon2<'static>, PasswordError> {
    let params = Params::new(MEMORY_KIB, PASSES, LANES, None).map_err(|e| PasswordError::Hash(e.to_string()))?;
    Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
}

fn hashed(password: &str) -> Result<String, PasswordError> {
    let hash: PasswordHash =
        argon2()?.hash_password(password.as_bytes()).map_err(|e| PasswordError::Hash(e.to_string()))?;
    Ok(hash.to_string())
}

/// Whether a text may be a password; if not, why, without repeating it.
///
/// # Errors
/// It may not.
pub fn check(password: &str) -> Result<(), String> {
    if password.chars().count() < MIN_CHARACTERS {
        return Err(format!("must have at least {MIN_CHARACTERS} characters; a few words make a good one"));
    }
    if password.len() > MAX_BYTES {
        return Err(format!("must have at most {MAX_BYTES} bytes"));
    }
    Ok(())
}

/// Hashes and compares, a few at a time.
#[derive(Debug)]
pub struct Passwords {
    /// Compared with if the operator has no hash, so that it takes as long.
    nobody: String,
    turns: Semaphore,
    checks: Counter,
}

impl Passwords {
    /// Ready; what it does is counted in `metrics`. Blocking.
    ///
    /// # Errors
    /// The system gives no randomness.
    pub fn new(metrics: &Metrics) -> Result<Self, PasswordError> {
        let checks = Counter::default();
        metrics.register("password_checks", "Passwords that were compared with a hash", checks.clone());
        Ok(Self { nobody: hashed("a password that no operator has")?, turns: Semaphore::new(AT_ONCE), checks })
    }

    async fn turn(&self) -> Result<SemaphorePermit<'_>, ApiError> {
        let busy =
            || ApiError::new(Code::TooMany, "Too many people are logging in at this moment.", "Try again in a minute.");
        tokio::time::timeout(PATIENCE, self.turns.acquire()).await.map_err(|_| busy())?.map_err(ApiError::internal)
    }

    /// The hash of a password that [`check`] admits.
    ///
    /// # Errors
    /// It may not be a password, or could not be hashed.
    pub async fn hash(&self, field: &str, password: &str) -> Result<String, ApiError> {
        check(password).map_err(|why| ApiError::bad_field(field, why))?;
        let _turn = self.turn().await?;
        let password = password.to_owned();
        let hash = tokio::task::spawn_blocking(move || hashed(&password)).await.map_err(ApiError::internal)?;
        hash.map_err(ApiError::internal)
    }

    /// Whether `password` has this hash. Without a hash it has not, after the same work.
    ///
    /// # Errors
    /// The hash is invalid, or too many are compared at this moment.
    pub async fn matches(&self, hash: Option<&str>, password: &str) -> Result<bool, ApiError> {
        let known = hash.is_some();
        // What is longer than any password is compared as well, cut: the work does not tell.
        let password = password[..password.floor_char_boundary(MAX_BYTES + 4)].to_owned();
        let hash = hash.unwrap_or(&self.nobody).to_owned();
        let _turn = self.turn().await?;
        self.checks.inc();
        let same = tokio::task::spawn_blocking(move || {
            let hash = PasswordHash::new(&hash).map_err(|e| PasswordError::Hash(e.to_string()))?;
            Ok::<_, PasswordError>(argon2()?.verify_password(password.as_bytes(), &hash).is_ok())
        });
        let same = same.await.map_err(ApiError::internal)?.map_err(ApiError::internal)?;
        Ok(same && known)
    }
}

/// The hash of a password that [`check`] admits, for a program that ends soon. Blocking.
///
/// # Errors
/// It could not be hashed.
pub fn hash_once(password: &str) -> Result<String, PasswordError> {
    hashed(password)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_password_is_known_by_its_hash_and_unknown_names_cost_the_same() {
        let passwords = Passwords::new(&Metrics::new()).unwrap();
        let hash = passwords.hash("password", "correct horse battery").await.unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
        assert_ne!(hash, passwords.hash("password", "correct horse battery").await.unwrap(), "salted");
        assert!(passwords.matches(Some(&hash), "correct horse battery").await.unwrap());
        assert!(!passwords.matches(Some(&hash), "correct horse batterz").await.unwrap());
        assert!(!passwords.matches(None, "a password that no operator has").await.unwrap());
        assert_eq!(passwords.checks.get(), 3, "one comparison each, known or not");
    }

    #[test]
    fn length_is_the_only_rule() {
        assert!(check("aaaaaaaaaaaa").is_ok() && check("двенадцать б").is_ok());
        assert!(check("elevenchars").unwrap_err().contains("at least 12"));
        assert!(check(&"x".repeat(256)).is_ok());
        assert!(check(&"x".repeat(257)).unwrap_err().contains("at most 256"));
    }
}
