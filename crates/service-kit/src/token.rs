//! Bearer and join tokens: random, shown once, kept as a hash.

use fleet_types::Digest;
use sha2::{Digest as _, Sha256};

use crate::Secret;

/// Longest token text that is looked at, in bytes.
pub const MAX_TOKEN_LEN: usize = 256;

/// A fresh token of 256 random bits. `prefix` tells people what they found, such as `join` or `branch`.
pub fn generate(prefix: &str) -> Secret {
    Secret::new(format!("{prefix}-{}", hex::encode(rand::random::<[u8; 32]>())))
}

/// What is stored instead of a token. A plain hash suffices: tokens are random, so they cannot be guessed from it.
pub fn hash(token: &str) -> Digest {
    let bytes: [u8; 32] = Sha256::digest(token.as_bytes()).into();
    Digest::new(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_differ_and_hash_to_sha256() {
        assert_ne!(generate("join"), generate("join"));
        assert!(generate("join").expose().len() < MAX_TOKEN_LEN);
        assert_eq!(hash("abc").to_string(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }
}
