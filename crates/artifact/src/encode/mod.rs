//! Encodes a payload into an artifact: parallel, deterministic, resumable after a kill.
//!
//! Segments are encoded in parallel and written in order, so that what a killed run left is always a prefix, and the
//! work file becomes the artifact by being renamed. The payload is read once, by one thread that hashes it on the way:
//! what was encoded is what has the payload's digest, or there is no artifact.

mod finish;
mod job;
mod pipeline;
mod work;

use std::path::Path;

use crate::payload::PayloadId;
use crate::source::PayloadSource;

use job::Job;
use work::Work;

pub use job::{DEFAULT_LEVEL, EncodeError, EncodeOptions, EncodeProgress, Encoded};

/// Encodes a payload into the artifact `out`.
///
/// Work files are kept in `work_dir`, which is created if missing and emptied after success.
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
