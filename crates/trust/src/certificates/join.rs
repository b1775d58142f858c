//! Join tokens: a secret for one enrolment, and the fingerprint that the server must prove.

use fleet_types::Digest;
use service_kit::{Secret, token};

use crate::refusal::{Refusal, Why, refuse};

/// Shortest secret, in bytes: otherwise a secret without fingerprint could parse as both.
const SHORTEST: usize = 16;

/// A join token, carried from the issuer to the new machine.
///
/// As text, one line: the secret, `-`, and the authority's fingerprint in 64 hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JoinToken {
    /// The secret, shown to the server after it proved its identity; the server stores a hash.
    pub secret: Secret,
    /// SHA-256 of the fleet's authority: [`crate::certificates::fingerprint`].
    pub authority: Digest,
}

impl JoinToken {
    /// Generates a token.
    pub fn generate(authority: Digest) -> Self {
        Self { secret: token::generate("join"), authority }
    }

    /// Builds a token from a given secret.
    ///
    /// # Errors
    /// The secret is too short, or the token too long.
    pub fn new(secret: Secret, authority: Digest) -> Result<Self, Refusal> {
        Self::parse(&Self { secret, authority }.to_text())
    }

    /// Returns the token as text, a secret.
    pub fn to_text(&self) -> Secret {
        Secret::new(format!("{}-{}", self.secret.expose(), self.authority))
    }

    /// Parses a token. The text appears in no message.
    ///
    /// # Errors
    /// It is not a token.
    pub fn parse(text: &Secret) -> Result<Self, Refusal> {
        let parts = text.expose().trim().rsplit_once('-');
        let parsed = parts.and_then(|(secret, authority)| Some((secret, authority.parse().ok()?)));
        match parsed {
            Some((secret, authority)) if secret.len() >= SHORTEST && text.expose().len() <= token::MAX_TOKEN_LEN => {
                Ok(Self { secret: Secret::new(secret), authority })
            }
            _ => refuse(Why::JoinTokenForm, "The text is not a join token: a secret, a dash and a fingerprint."),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_join_token_is_one_line_both_ways() {
        let token = JoinToken::generate([7; 32].into());
        let text = token.to_text();
        assert!(text.expose().starts_with("join-") && text.expose().len() <= token::MAX_TOKEN_LEN);
        assert_eq!(JoinToken::parse(&Secret::new(format!("{}\n", text.expose()))).unwrap(), token);
        let secret = token.secret.expose();
        for bad in ["", "-", secret, &format!("-{}", token.authority), &format!("{secret}-07"), &"x".repeat(1000)] {
            let refused = JoinToken::parse(&Secret::new(bad)).unwrap_err();
            assert_eq!(refused.why(), Why::JoinTokenForm, "{bad}");
            assert!(!refused.sentence().contains(secret), "{refused}");
        }
    }
}
