//! A payload's identity, and the bounds of its segments.

use fleet_types::Digest;
use serde::{Deserialize, Serialize};

/// The default segment size in payload bytes: 4 MiB.
pub const SEGMENT_SIZE: u32 = 4 << 20;

/// The smallest allowed segment size: 64 KiB.
pub const MIN_SEGMENT_SIZE: u32 = 64 << 10;

/// The largest allowed segment size: 16 MiB, which a decoder holds in memory.
pub const MAX_SEGMENT_SIZE: u32 = 16 << 20;

/// Maximum segments of an artifact (4 TiB at the default segment size).
///
/// Bounds an index to 48 MiB.
pub const MAX_SEGMENTS: u64 = 1 << 20;

/// A payload's identity by content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PayloadId {
    /// SHA-256 of the whole payload.
    pub sha256: Digest,
    /// Its length in bytes.
    pub length: u64,
}
