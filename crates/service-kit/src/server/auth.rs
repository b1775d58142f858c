//! From a bearer token to a caller.

use std::collections::HashMap;
use std::path::Path;

use async_trait::async_trait;
use fleet_types::Digest;
use serde::Deserialize;

use super::{ApiError, Caller, PeerCertificates, Role};
use crate::config::{self, ConfigError};
use crate::token;

/// Knows who holds a token.
#[async_trait]
pub trait Authenticator: Send + Sync {
    /// Returns the holder of `bearer`; `None` if the token is not valid.
    ///
    /// # Errors
    /// It cannot be told now.
    async fn authenticate(&self, bearer: &str) -> Result<Option<Caller>, ApiError>;

    /// Returns the holder of this certificate; `None` if it is not registered. Asked at each request, as a connection may outlive a certificate.
    ///
    /// # Errors
    /// It does not hold any more, or that cannot be told now.
    async fn certificate(&self, _presented: &PeerCertificates) -> Result<Option<Caller>, ApiError> {
        Ok(None)
    }

    /// Whether callers are known here by certificates and by nothing else, so that a refusal says so.
    fn wants_certificate(&self) -> bool {
        false
    }

    /// The cookie by which browsers are known here; none: they are not.
    fn cookie(&self) -> Option<&'static str> {
        None
    }

    /// Returns the holder of the cookie's session; `None` if it is not valid. The guard has checked that no other site sent it.
    ///
    /// # Errors
    /// It cannot be told now.
    async fn session(&self, _cookie: &str) -> Result<Option<Caller>, ApiError> {
        Ok(None)
    }
}

/// Accepts no token: for listeners with open routes only.
#[derive(Debug, Clone, Copy, Default)]
pub struct Nobody;

#[async_trait]
impl Authenticator for Nobody {
    async fn authenticate(&self, _: &str) -> Result<Option<Caller>, ApiError> {
        Ok(None)
    }
}

/// Operators' tokens out of a file that holds only their hashes: for a program that knows no operators of its own.
#[derive(Debug, Clone, Default)]
pub struct OperatorTokens(HashMap<Digest, Caller>);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TokensFile {
    #[serde(default)]
    token: Vec<TokenEntry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TokenEntry {
    name: String,
    role: Role,
    sha256: Digest,
}

impl OperatorTokens {
    /// Reads the file: `[[token]]` tables with `name`, `role` and `sha256` (of the token's text). Blocking.
    ///
    /// # Errors
    /// It cannot be read, or has an entry that cannot be used.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let file: TokensFile = config::read_toml(path)?;
        let mut tokens = HashMap::new();
        for entry in file.token {
            let key = format!("{}: token {:?}", path.display(), entry.name);
            if !entry.role.is_operator() {
                let why = format!(
                    "role {} is not a role for people; use viewer, operator, release-manager or admin",
                    entry.role.as_str()
                );
                return Err(ConfigError::bad(&key, why));
            }
            if tokens.insert(entry.sha256, Caller::operator(entry.name, entry.role)).is_some() {
                return Err(ConfigError::bad(&key, "another entry has the same token"));
            }
        }
        Ok(Self(tokens))
    }

    /// From tokens in clear: for tests and demonstrations.
    pub fn from_clear(entries: &[(&str, Role, &str)]) -> Self {
        Self(entries.iter().map(|(name, role, t)| (token::hash(t), Caller::operator(*name, *role))).collect())
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns whether there is no token.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[async_trait]
impl Authenticator for OperatorTokens {
    async fn authenticate(&self, bearer: &str) -> Result<Option<Caller>, ApiError> {
        // A map keyed by hash: what a stranger could time is a hash that they cannot steer.
        Ok(self.0.get(&token::hash(bearer)).cloned())
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "test files need not be durable")]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<OperatorTokens, ConfigError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tokens.toml");
        std::fs::write(&path, text).unwrap();
        OperatorTokens::read(&path)
    }

    #[tokio::test]
    async fn a_token_is_known_by_its_hash() {
        let text = format!("[[token]]\nname = \"desk\"\nrole = \"admin\"\nsha256 = \"{}\"", token::hash("secret"));
        let tokens = read(&text).unwrap();
        assert_eq!(tokens.authenticate("secret").await.unwrap(), Some(Caller::operator("desk", Role::Admin)));
        assert_eq!(tokens.authenticate("other").await.unwrap(), None);
    }

    #[test]
    fn machines_roles_and_double_tokens_are_refused() {
        let entry =
            |role: &str| format!("[[token]]\nname = \"a\"\nrole = \"{role}\"\nsha256 = \"{}\"\n", token::hash("x"));
        assert!(read(&entry("branch")).unwrap_err().to_string().contains("role branch"));
        assert!(read(&entry("viewer").repeat(2)).unwrap_err().to_string().contains("same token"));
    }
}
