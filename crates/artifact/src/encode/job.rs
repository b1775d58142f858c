//! One call of the encoder: options, checked arguments, progress and errors.

use std::io;
use std::path::PathBuf;

use fleet_types::Digest;
use serde::{Deserialize, Serialize};

use crate::index::{IndexError, segment_count, segment_length};
use crate::payload::{PayloadId, SEGMENT_SIZE};
use crate::record_log::JournalError;
use crate::source::PayloadSource;

/// The default zstd level of artifacts.
pub const DEFAULT_LEVEL: i32 = 19;

const MOST_WORKERS: usize = 256;

/// Options of the encoder.
///
/// Size and level determine the artifact's bytes; the number of workers does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EncodeOptions {
    /// Payload bytes a segment: a power of two from 64 KiB to 16 MiB.
    pub segment_size: u32,
    /// The zstd level, 1 to 22.
    pub level: i32,
    /// How many segments are encoded at once, 1 to 256.
    ///
    /// Memory is about `workers` × (60 MiB at level 19, 13 MiB at level 9) and `2 × workers + 2` segments.
    pub workers: usize,
}

impl Default for EncodeOptions {
    fn default() -> Self {
        Self { segment_size: SEGMENT_SIZE, level: DEFAULT_LEVEL, workers: 1 }
    }
}

/// A finished artifact.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Encoded {
    /// SHA-256 of the whole artifact file.
    pub sha256: Digest,
    /// Its length in bytes.
    pub length: u64,
    /// SHA-256 of its index: the first `index_length` bytes.
    pub index_sha256: Digest,
    /// The index's length in bytes.
    pub index_length: u64,
    /// How many segments it has.
    pub segments: u64,
    /// How many of them are zeros and take no space.
    pub zero_segments: u64,
}

/// Progress of an encoder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EncodeProgress {
    /// Payload bytes whose segments are encoded and journaled.
    pub done: u64,
    /// Of those, bytes encoded by an earlier run; exclude them from a rate.
    pub resumed: u64,
    /// The payload's length in bytes.
    pub total: u64,
    /// Bytes of the artifact so far.
    pub artifact_bytes: u64,
}

/// Why encoding failed.
#[derive(Debug, thiserror::Error)]
pub enum EncodeError {
    /// The level is not valid.
    #[error("zstd level {0} does not exist: choose 1 to 22")]
    Level(i32),
    /// An invalid number of workers.
    #[error("{0} workers are not possible: choose 1 to {MOST_WORKERS}")]
    Workers(usize),
    /// The segment size is not allowed, or gives too many segments.
    #[error("the payload cannot be divided into segments of this size")]
    Segments(#[source] IndexError),
    /// The source is longer or shorter than the payload.
    #[error("the payload has {found} bytes instead of {expected}: upload the release again")]
    SourceLength {
        /// The payload's length.
        expected: u64,
        /// The source's.
        found: u64,
    },
    /// The source could not be read.
    #[error("cannot read the payload at byte {offset}")]
    ReadSource {
        /// Where in the payload.
        offset: u64,
        /// Why.
        source: io::Error,
    },
    /// The source no longer has the payload's digest. The work is discarded.
    #[error(
        "the payload has the digest {found} instead of {expected}: its file changed after it was checked; upload the \
             release again"
    )]
    SourceDigest {
        /// The payload's digest.
        expected: Digest,
        /// What was read.
        found: Digest,
    },
    /// The work folder could not be used.
    #[error("cannot use the work file {path}: check free space and permissions")]
    WorkFile {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The work folder's journal could not be used.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// zstd refused a segment.
    #[error("cannot encode segment {number}: check free memory")]
    Compress {
        /// The segment.
        number: u64,
        /// What zstd said.
        source: io::Error,
    },
    /// The finished artifact cannot be moved into place.
    #[error("cannot move the artifact to {path}: check free space and permissions")]
    Out {
        /// The artifact.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It was cancelled; the next run resumes.
    #[error("encoding was cancelled; the next run resumes it")]
    Cancelled,
}

/// One call of [`encode`]: its arguments, checked.
pub(super) struct Job<'a> {
    pub(super) source: &'a dyn PayloadSource,
    pub(super) payload: PayloadId,
    pub(super) segment_size: u32,
    pub(super) level: u8,
    pub(super) workers: usize,
    pub(super) segments: u64,
    pub(super) progress: &'a (dyn Fn(EncodeProgress) + Sync),
    pub(super) cancelled: &'a (dyn Fn() -> bool + Sync),
}

impl<'a> Job<'a> {
    pub(super) fn new(
        source: &'a dyn PayloadSource,
        payload: PayloadId,
        options: &EncodeOptions,
        progress: &'a (dyn Fn(EncodeProgress) + Sync),
        cancelled: &'a (dyn Fn() -> bool + Sync),
    ) -> Result<Self, EncodeError> {
        let &EncodeOptions { segment_size, level, workers } = options;
        let known = u8::try_from(level).ok().filter(|level| (1..=22).contains(level));
        let level = known.ok_or(EncodeError::Level(level))?;
        if !(1..=MOST_WORKERS).contains(&workers) {
            return Err(EncodeError::Workers(workers));
        }
        let segments = segment_count(payload.length, segment_size).map_err(EncodeError::Segments)?;
        let (expected, found) = (payload.length, source.length());
        if expected != found {
            return Err(EncodeError::SourceLength { expected, found });
        }
        Ok(Self { source, payload, segment_size, level, workers, segments, progress, cancelled })
    }

    /// Fills `bytes` with a segment of the source.
    pub(super) fn read_segment(&self, number: u64, bytes: &mut Vec<u8>) -> Result<(), EncodeError> {
        let offset = number * u64::from(self.segment_size);
        bytes.resize(segment_length(self.payload.length, self.segment_size, number) as usize, 0);
        self.source.read_exact_at(bytes, offset).map_err(|source| EncodeError::ReadSource { offset, source })
    }

    /// The payload bytes of the first `segments` segments.
    pub(super) fn bytes_of(&self, segments: u64) -> u64 {
        self.payload.length.min(segments * u64::from(self.segment_size))
    }

    pub(super) fn check_cancelled(&self) -> Result<(), EncodeError> {
        if (self.cancelled)() { Err(EncodeError::Cancelled) } else { Ok(()) }
    }
}
