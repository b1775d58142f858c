//! What the lab knows of an image that it published.

use fleet_types::Digest;

/// An image that the lab published, as the lab itself hashed it; nothing comes from a program under test.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shipped {
    /// SHA-256 of the image.
    pub sha256: Digest,
    /// Its length in bytes.
    pub length: u64,
}
