//! Passwords: what one may be, and how it is kept.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use argon2::password_hash::phc::{Output, ParamsString, PasswordHash, Salt};
use argon2::{Algorithm, Argon2, Block, Params, Version};
use prometheus_client::metrics::counter::Counter;
use service_kit::Secret;
use service_kit::server::{ApiError, Metrics};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
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

/// The memory of one hash. Argon2 writes every block before it reads it.
type Memory = Vec<Block>;

/// Lends memory to hashes: at most [`AT_ONCE`] pieces, which are kept.
///
/// Made when they are first needed. Given back and asked for at each hash, blocks of that size stay behind in each of the
/// allocator's arenas instead.
#[derive(Debug, Clone, Default)]
struct Memories(Arc<Mutex<Vec<Memory>>>);

impl Memories {
    /// Lends the piece that was used last. Blocking.
    fn with<T>(&self, compute: impl FnOnce(&mut Memory) -> T) -> T {
        let pieces = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut memory = pieces().pop().unwrap_or_default();
        let result = compute(&mut memory);
        let mut free = pieces();
        if free.len() < AT_ONCE {
            free.push(memory);
        }
        result
    }
}

fn failed(error: impl std::fmt::Display) -> PasswordError {
    PasswordError::Hash(error.to_string())
}

fn ours() -> Result<Params, PasswordError> {
    Params::new(MEMORY_KIB, PASSES, LANES, Some(Params::DEFAULT_OUTPUT_LEN)).map_err(failed)
}

/// Computes argon2id of a password.
fn digest(params: Params, salt: &[u8], password: &str, memory: &mut Memory) -> Result<Output, PasswordError> {
    memory.resize(params.block_count(), Block::new());
    let mut out = vec![0; params.output_len().unwrap_or(Params::DEFAULT_OUTPUT_LEN)];
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    argon2.hash_password_into_with_memory(password.as_bytes(), salt, &mut out, memory).map_err(failed)?;
    Output::new(&out).map_err(failed)
}

/// Writes a hash in the PHC string format.
fn written(salt: Salt, output: Output) -> Result<String, PasswordError> {
    let (algorithm, version) = (Algorithm::Argon2id.ident(), Some(Version::V0x13.into()));
    let params = ParamsString::try_from(&ours()?).map_err(failed)?;
    Ok(PasswordHash { algorithm, version, params, salt: Some(salt), hash: Some(output) }.to_string())
}

fn hashed(password: &str, memory: &mut Memory) -> Result<String, PasswordError> {
    let salt = Salt::generate();
    let output = digest(ours()?, &salt, password, memory)?;
    written(salt, output)
}

/// Computes the same of a password as was computed for `hash`, and compares in constant time.
fn is_same(hash: &str, password: &str, memory: &mut Memory) -> Result<bool, PasswordError> {
    let hash = PasswordHash::new(hash).map_err(failed)?;
    let (params, salt, known) = (Params::try_from(&hash).map_err(failed)?, hash.salt, hash.hash);
    let (Some(salt), Some(known)) = (salt, known) else { return Err(failed("the hash is incomplete")) };
    // Only what is known by these parameters is bounded by this server.
    if hash.algorithm != Algorithm::Argon2id.ident() || params.block_count() > ours()?.block_count() {
        return Err(failed("the hash is of another kind"));
    }
    Ok(digest(params, &salt, password, memory)? == known)
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
    turns: Arc<Semaphore>,
    memories: Memories,
    checks: Counter,
}

impl Passwords {
    /// Ready; what it does is counted in `metrics`. Blocking.
    ///
    /// # Errors
    /// The parameters cannot be used.
    pub fn new(metrics: &Metrics) -> Result<Self, PasswordError> {
        let checks = Counter::default();
        metrics.register("password_checks", "Passwords that were compared with a hash", checks.clone());
        // Of no password: what is compared with it is the same work, and never counts as the same.
        let nobody = written(Salt::generate(), Output::new(&[0; Params::DEFAULT_OUTPUT_LEN]).map_err(failed)?)?;
        Ok(Self { nobody, turns: Arc::new(Semaphore::new(AT_ONCE)), memories: Memories::default(), checks })
    }

    /// A turn goes with its hash: who asked may leave while it is computed.
    async fn turn(&self) -> Result<OwnedSemaphorePermit, ApiError> {
        let busy =
            || ApiError::new(Code::TooMany, "Too many people are logging in at this moment.", "Try again in a minute.");
        tokio::time::timeout(PATIENCE, self.turns.clone().acquire_owned())
            .await
            .map_err(|_| busy())?
            .map_err(ApiError::internal)
    }

    /// The hash of a password that [`check`] admits.
    ///
    /// # Errors
    /// It may not be a password, or could not be hashed.
    pub async fn hash(&self, field: &str, password: &str) -> Result<String, ApiError> {
        check(password).map_err(|why| ApiError::bad_field(field, why))?;
        let turn = self.turn().await?;
        let (password, memories) = (password.to_owned(), self.memories.clone());
        let hash = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            memories.with(|memory| hashed(&password, memory))
        });
        hash.await.map_err(ApiError::internal)?.map_err(ApiError::internal)
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
        let turn = self.turn().await?;
        self.checks.inc();
        let memories = self.memories.clone();
        let same = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            memories.with(|memory| is_same(&hash, &password, memory))
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
    hashed(password, &mut Memory::new())
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

    #[tokio::test(flavor = "multi_thread")]
    async fn hashes_are_computed_in_memory_that_is_used_again() {
        let passwords = Passwords::new(&Metrics::new()).unwrap();
        let pieces = || passwords.memories.0.lock().unwrap().iter().map(Vec::as_ptr).collect::<Vec<_>>();
        assert!(pieces().is_empty(), "made when the first password comes");
        let tries = || passwords.matches(None, "wrong");
        for _ in 0..2 {
            tries().await.unwrap();
        }
        let first = pieces();
        assert_eq!(first.len(), 1, "one at a time needs one");
        let _ = tokio::join!(tries(), tries(), tries(), tries());
        assert!(pieces().len() <= AT_ONCE && pieces().contains(&first[0]));
    }

    #[tokio::test]
    async fn a_hash_keeps_its_turn_when_who_asked_leaves() {
        let passwords = Passwords::new(&Metrics::new()).unwrap();
        let held = passwords.memories.0.lock().unwrap();
        {
            let mut tried = std::pin::pin!(passwords.matches(None, "wrong"));
            let mut once = std::task::Context::from_waker(std::task::Waker::noop());
            assert!(tried.as_mut().poll(&mut once).is_pending(), "it waits for memory");
        }
        assert_eq!(passwords.turns.available_permits(), AT_ONCE - 1);
        drop(held);
    }

    #[test]
    fn hashes_are_those_of_argon2s_own_functions() {
        use argon2::password_hash::{PasswordHasher as _, PasswordVerifier as _};
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, ours().unwrap());
        let (password, mut memory) = ("correct horse battery", Memory::new());
        let theirs: PasswordHash = argon2.hash_password(password.as_bytes()).unwrap();
        assert!(is_same(&theirs.to_string(), password, &mut memory).unwrap());
        assert!(!is_same(&theirs.to_string(), "correct horse batterz", &mut memory).unwrap());
        let kept = hashed(password, &mut memory).unwrap();
        argon2.verify_password(password.as_bytes(), &PasswordHash::new(&kept).unwrap()).unwrap();
        let larger = kept.replace("m=19456", "m=1000000");
        assert!(is_same(&larger, password, &mut memory).is_err(), "memory beyond the bound");
    }

    #[test]
    fn length_is_the_only_rule() {
        assert!(check("aaaaaaaaaaaa").is_ok() && check("двенадцать б").is_ok());
        assert!(check("elevenchars").unwrap_err().contains("at least 12"));
        assert!(check(&"x".repeat(256)).is_ok());
        assert!(check(&"x".repeat(257)).unwrap_err().contains("at most 256"));
    }
}
