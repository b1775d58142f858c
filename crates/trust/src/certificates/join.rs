//! Join tokens: a secret for one enrolment, and by which certificate the other end is known.

use fleet_types::Digest;
use service_kit::{Secret, token};

use crate::refusal::{Refusal, Why, refuse};

/// Shortest secret, in bytes: without it, a secret that lost its fingerprint would pass for a prefix and a fingerprint.
const SHORTEST: usize = 16;

/// What somebody carries from the one who lets in to the one who comes in. As text: the secret, `-`, and 64 hexadecimal
/// digits of the authority's fingerprint, so that one line is all that has to be carried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JoinToken {
    /// What is shown to the other end, once it proved who it is. Kept there as a hash only.
    pub secret: Secret,
    /// SHA-256 of the fleet's authority: [`super::fingerprint`].
    pub authority: Digest,
}

impl JoinToken {
    /// A fresh one.
    pub fn generate(authority: Digest) -> Self {
        Self { secret: token::generate("join"), authority }
    }

    /// With this secret, and the same as text leads back to it: long enough, and not too long.
    ///
    /// # Errors
    /// It is shorter than a secret is, or longer than a token may be.
    pub fn new(secret: Secret, authority: Digest) -> Result<Self, Refusal> {
        Self::parse(&Self { secret, authority }.to_text())
    }

    /// The whole text, which is a secret.
    pub fn to_text(&self) -> Secret {
        Secret::new(format!("{}-{}", self.secret.expose(), self.authority))
    }

    /// Reads the text. It is in no message.
    ///
    /// # Errors
    /// It is none.
    pub fn parse(text: &Secret) -> Result<Self, Refusal> {
        let parts = text.expose().trim().rsplit_once('-');
        let parsed = parts.and_then(|(secret, authority)| Some((secret, authority.parse().ok()?)));
        match parsed {
            Some((secret, authority)) if secret.len() >= SHORTEST && text.expose().len() <= token::MAX_TOKEN_LEN => {
                Ok(Self { secret: Secret::new(secret), authority })
            }
            _ => refuse(Why::JoinTokenForm, "This is no join token of a branch: a secret and a fingerprint."),
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
