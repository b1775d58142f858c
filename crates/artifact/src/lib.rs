//! Artifacts: payloads in a form for transport.
//!
//! A payload is cut into segments, each an independent zstd frame behind a header and a table (the *index*), so that
//! segments can be fetched, checked and written in any order, and continued after a crash. This crate makes artifacts
//! ([`encode`]), reads their index without trusting it ([`Index`]), writes segments to an [`ImageDisk`] ([`Applier`])
//! and reads the result back ([`read_back`]).
//!
//! It is blocking and must never be async, read a clock, or know of networks. It must never write an unhashed byte to a
//! disk, journal a segment before the disk was synced, or let an untrusted index or frame decide how much memory or
//! output it uses. Only [`read_back`] proves that an image is complete, by the payload's digest.
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
mod bytes;
mod codes;
mod decode;
mod disk;
mod encode;
mod index;
mod payload;
mod read_back;
mod record_log;
mod source;

pub use apply::{Applier, ApplyError, Rechecked};
pub use decode::SegmentError;
pub use disk::{DeviceTooSmall, FileDisk, FileDiskError, ImageDisk, PastEnd, check_fits};
pub use encode::{DEFAULT_LEVEL, EncodeError, EncodeOptions, EncodeProgress, Encoded, encode};
pub use index::{Index, IndexError, Segment, max_index_len};
pub use payload::{MAX_SEGMENT_SIZE, MAX_SEGMENTS, MIN_SEGMENT_SIZE, PayloadId, SEGMENT_SIZE};
pub use read_back::{ReadBackError, read_back};
pub use record_log::JournalError;
pub use source::{FileRange, PayloadSource};
