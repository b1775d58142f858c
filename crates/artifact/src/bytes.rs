//! Hashes and compares bytes in memory.

use fleet_types::Digest;
use sha2::{Digest as _, Sha256};

/// Returns the SHA-256 of bytes in memory.
pub(crate) fn sha256(bytes: &[u8]) -> Digest {
    Digest::new(Sha256::digest(bytes).into())
}

/// Whether every byte is zero.
///
/// Compares a block at a time, a `memcmp` at any optimisation level.
pub(crate) fn all_zero(bytes: &[u8]) -> bool {
    const ZEROS: [u8; 4096] = [0; 4096];
    bytes.chunks(ZEROS.len()).all(|block| *block == ZEROS[..block.len()])
}
