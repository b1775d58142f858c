//! A payload into an artifact: parallel, deterministic, and continued where a killed run stopped.
//!
//! Segments are encoded in parallel and written in order, so that what a killed run left is always a prefix, and the
//! work file becomes the artifact by being renamed. The payload is read once, by one thread that hashes it on the way:
//! what was encoded is what has the payload's digest, or there is no artifact.

mod finish;
mod pipeline;
mod work;

use std::io;
use std::path::{Path, PathBuf};

use fleet_types::Digest;
use serde::{Deserialize, Serialize};

use crate::index::{IndexError, segment_count};
use crate::record_log::JournalError;
use crate::{PayloadId, PayloadSource, SEGMENT_SIZE};
use work::Work;

/// The zstd level that artifacts are made with, unless a setting says otherwise.
pub const DEFAULT_LEVEL: i32 = 19;

const MOST_WORKERS: usize = 256;

/// How an artifact is made. Size and level decide its bytes, the number of workers never does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EncodeOptions {
    /// Payload bytes a segment: a power of two from 64 KiB to 16 MiB.
    pub segment_size: u32,
    /// The zstd level, 1 to 22.
    pub level: i32,
    /// How many segments are encoded at once, 1 to 256. Memory is about `workers` × (60 MiB at level 19, 13 MiB at
    /// level 9) and `2 × workers + 2` segments.
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

/// How far an encoder is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EncodeProgress {
    /// Payload bytes whose segments are encoded and journaled.
    pub done: u64,
    /// Of those, the bytes that an earlier run encoded: leave them out of a rate.
    pub resumed: u64,
    /// The payload's length in bytes.
    pub total: u64,
    /// Bytes of the artifact so far.
    pub artifact_bytes: u64,
}

/// Why there is no artifact.
#[derive(Debug, thiserror::Error)]
pub enum EncodeError {
    /// The level is not one that zstd has.
    #[error("zstd level {0} does not exist; choose 1 to 22")]
    Level(i32),
    /// No workers, or absurdly many.
    #[error("{0} workers are not possible; choose 1 to {MOST_WORKERS}")]
    Workers(usize),
    /// The segment size is not allowed, or gives too many segments.
    #[error("the payload cannot be cut into segments of this size")]
    Segments(#[source] IndexError),
    /// The source is longer or shorter than the payload.
    #[error("the payload should have {expected} bytes and its source has {found}; upload the release again")]
    SourceLength {
        /// The payload's length.
        expected: u64,
        /// The source's.
        found: u64,
    },
    /// The source could not be read.
    #[error("the payload could not be read at byte {offset}")]
    ReadSource {
        /// Where in the payload.
        offset: u64,
        /// Why.
        source: io::Error,
    },
    /// The source does not have the payload's digest any more. What was encoded of it is thrown away.
    #[error(
        "the payload read has the digest {found} and should have {expected}: its file was changed after it was \
             checked; upload the release again"
    )]
    SourceDigest {
        /// The payload's digest.
        expected: Digest,
        /// What was read.
        found: Digest,
    },
    /// The work folder could not be used.
    #[error("the work file {path} could not be used; is there space left, and may this user write there?")]
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
    #[error("segment {number} could not be encoded; is there memory left?")]
    Compress {
        /// The segment.
        number: u64,
        /// What zstd said.
        source: io::Error,
    },
    /// The finished artifact could not be put in its place.
    #[error("the artifact {path} could not be put in its place; is there space left, and may this user write there?")]
    Out {
        /// The artifact.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It was cancelled; the next run continues.
    #[error("encoding was cancelled; what is done is kept for the next run")]
    Cancelled,
}

/// Encodes a payload into the artifact `out`, with work files in `work_dir`, which is made if need be and keeps
/// nothing of ours after success (the folder itself stays).
///
/// After a kill or a cancel, the same call continues: what the work folder holds is used only as far as its digests
/// agree with this payload, these options and this zstd. If `out` is such an artifact already, checked by decoding all
/// of it, it is kept as it is. The artifact's bytes depend on the payload, the segment size, the level and zstd's
/// version, and on nothing else. `out` appears whole and durable or not at all; a rename from `work_dir` is enough
/// when both are on one filesystem.
///
/// `progress` is called from this thread after each segment; `cancelled` is asked as often, and then stops within the
/// time that one segment takes.
///
/// # Errors
/// [`EncodeError`]. Work is kept for the next run, except after [`EncodeError::SourceDigest`].
pub fn encode(
    source: &dyn PayloadSource,
    payload: PayloadId,
    work_dir: &Path,
    out: &Path,
    options: &EncodeOptions,
    progress: &(dyn Fn(EncodeProgress) + Sync),
    cancelled: &(dyn Fn() -> bool + Sync),
) -> Result<Encoded, EncodeError> {
    let job = Job::new(source, payload, options, progress, cancelled)?;
    let mut work = Work::open(work_dir, &job)?;
    if let Some(encoded) = finish::adopt(&job, out)? {
        work.remove();
        return Ok(encoded);
    }
    let hasher = work.verify_resumed(&job)?;
    let found = pipeline::run(&job, &mut work, hasher)?;
    if found != payload.sha256 {
        work.remove();
        return Err(EncodeError::SourceDigest { expected: payload.sha256, found });
    }
    finish::finish(&job, work, out)
}

/// One call of [`encode`]: its arguments, checked.
struct Job<'a> {
    source: &'a dyn PayloadSource,
    payload: PayloadId,
    segment_size: u32,
    level: u8,
    workers: usize,
    segments: u64,
    progress: &'a (dyn Fn(EncodeProgress) + Sync),
    cancelled: &'a (dyn Fn() -> bool + Sync),
}

impl<'a> Job<'a> {
    fn new(
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
    fn read_segment(&self, number: u64, bytes: &mut Vec<u8>) -> Result<(), EncodeError> {
        let offset = number * u64::from(self.segment_size);
        bytes.resize(crate::index::segment_length(self.payload.length, self.segment_size, number) as usize, 0);
        self.source.read_exact_at(bytes, offset).map_err(|source| EncodeError::ReadSource { offset, source })
    }

    /// The payload bytes of the first `segments` segments.
    fn bytes_of(&self, segments: u64) -> u64 {
        self.payload.length.min(segments * u64::from(self.segment_size))
    }

    fn check_cancelled(&self) -> Result<(), EncodeError> {
        if (self.cancelled)() { Err(EncodeError::Cancelled) } else { Ok(()) }
    }
}
