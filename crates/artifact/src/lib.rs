//! Artifacts: what travels instead of a payload.
//!
//! A payload is cut into segments, each an independent zstd frame behind a header and a table (the *index*), so that
//! segments can be fetched, checked and written in any order, and continued after a crash. This crate makes artifacts
//! ([`encode`]), reads their index without trusting it ([`Index`]), writes segments to an [`ImageDisk`] ([`Applier`])
//! and reads the result back ([`read_back`]).
//!
//! It is blocking and must never be async, read a clock, or know of networks. It must never write a byte to a disk
//! that was not hashed first, journal a segment before the disk was synced, or let a stranger's index or frame decide
//! how much memory or output it uses. The payload's digest is the truth: whatever happened on the way, only
//! [`read_back`] says that an image is whole.
//!
//! # The container
//!
//! All integers are little-endian; every reserved byte is zero and checked.
//!
//! ```text
//! header, 128 bytes
//!     0  magic, 8 bytes          10  kind: 1 full, 2 delta    24  payload length, u64     72  base sha256 (delta)
//!     8  format, u16 = 1         11  codec: 1 zstd            32  payload sha256         104  segments, u64
//!                                12  level, u8                64  base length (delta)    112  reserved
//!                                16  segment size, u32
//! table, 48 bytes a segment
//!     0  offset of the frame in the artifact, u64             12  reserved, u32
//!     8  length of the frame, u32; 0: a segment of zeros      16  sha256 of the decoded segment
//! frames, contiguous, in the order of the segments
//! ```

mod apply;
mod codes;
mod decode;
mod disk;
mod encode;
mod index;
mod read_back;
mod record_log;
mod source;

use fleet_types::Digest;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

pub use apply::{Applier, ApplyError, Rechecked};
pub use decode::SegmentError;
pub use disk::{DeviceTooSmall, FileDisk, FileDiskError, ImageDisk, PastEnd, check_fits};
pub use encode::{DEFAULT_LEVEL, EncodeError, EncodeOptions, EncodeProgress, Encoded, encode};
pub use index::{Index, IndexError, Segment, max_index_len};
pub use read_back::{ReadBackError, read_back};
pub use record_log::JournalError;
pub use source::{FileRange, PayloadSource};

/// How many payload bytes a segment holds, unless a setting says otherwise: 4 MiB.
pub const SEGMENT_SIZE: u32 = 4 << 20;

/// The smallest segment size an index may have: 64 KiB.
pub const MIN_SEGMENT_SIZE: u32 = 64 << 10;

/// The largest segment size an index may have: 16 MiB. What a decoder must be ready to hold at once.
pub const MAX_SEGMENT_SIZE: u32 = 16 << 20;

/// How many segments an artifact may have (4 TiB of payload at the usual segment size): bounds an index to 48 MiB.
pub const MAX_SEGMENTS: u64 = 1 << 20;

/// A payload by content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PayloadId {
    /// SHA-256 of the whole payload.
    pub sha256: Digest,
    /// Its length in bytes.
    pub length: u64,
}

/// SHA-256 of bytes that are all in memory.
fn sha256(bytes: &[u8]) -> Digest {
    Digest::new(Sha256::digest(bytes).into())
}

/// Whether every byte is zero; compared a block at a time, which is a `memcmp` at any optimisation level.
fn all_zero(bytes: &[u8]) -> bool {
    const ZEROS: [u8; 4096] = [0; 4096];
    bytes.chunks(ZEROS.len()).all(|block| *block == ZEROS[..block.len()])
}
