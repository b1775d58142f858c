//! From a bearer token to a caller.

use std::collections::HashMap;

use async_trait::async_trait;
use fleet_types::Digest;

use super::{ApiError, Caller, PeerCertificates, Role};
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

/// Operators by fixed tokens, of which only the hashes are held: for tests and demonstrations.
#[derive(Debug, Clone, Default)]
pub struct OperatorTokens(HashMap<Digest, Caller>);

impl OperatorTokens {
    /// From tokens in clear.
    pub fn from_clear(entries: &[(&str, Role, &str)]) -> Self {
        Self(entries.iter().map(|(name, role, t)| (token::hash(t), Caller::operator(*name, *role))).collect())
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
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_token_is_known_by_its_hash() {
        let tokens = OperatorTokens::from_clear(&[("desk", Role::Admin, "secret")]);
        assert_eq!(tokens.authenticate("secret").await.unwrap(), Some(Caller::operator("desk", Role::Admin)));
        assert_eq!(tokens.authenticate("other").await.unwrap(), None);
    }
}
