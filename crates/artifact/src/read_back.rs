//! The last word on an image: what the medium holds, hashed as a whole.

use std::io;

use fleet_types::Digest;
use sha2::{Digest as _, Sha256};

use crate::disk::{DeviceTooSmall, ImageDisk, check_fits};
use crate::payload::PayloadId;

/// How much is read at once: large enough for any device, small beside an agent's memory.
const CHUNK: u64 = 1 << 20;

/// Why an image did not pass.
#[derive(Debug, thiserror::Error)]
pub enum ReadBackError {
    /// The disk holds other bytes than the payload.
    ///
    /// Only this one speaks about the image; all others say that the check could not be made.
    #[error(
        "the slot holds {found} and should hold {expected}: a bit was lost on the way to the medium or on it; \
             the segments are checked one by one and written again"
    )]
    Mismatch {
        /// The payload's digest.
        expected: Digest,
        /// The digest of what was read.
        found: Digest,
    },
    /// The disk is too short to hold the payload.
    #[error(transparent)]
    DeviceTooSmall(#[from] DeviceTooSmall),
    /// The disk did not say how long it is.
    #[error("cannot read the device's length: check that it is still attached")]
    Length(#[source] io::Error),
    /// The caches could not be dropped, so that reading would prove nothing.
    #[error("cannot drop the device's cached pages, so reading would prove nothing")]
    DropCaches(#[source] io::Error),
    /// The disk could not be read.
    #[error("cannot read the slot at byte {offset}: check the device")]
    Read {
        /// Where.
        offset: u64,
        /// Why.
        source: io::Error,
    },
}

/// Reads the whole payload back from the disk, past its caches, and compares its digest.
///
/// Calls `progress` with the bytes read so far, at least once a MiB. Bytes behind the payload's end are not looked
/// at.
///
/// # Errors
/// [`ReadBackError::Mismatch`] when the image is wrong; the others when it is not known.
pub fn read_back(
    disk: &mut dyn ImageDisk,
    payload: &PayloadId,
    progress: &mut dyn FnMut(u64),
) -> Result<(), ReadBackError> {
    check_fits(disk, *payload).map_err(ReadBackError::Length)??;
    disk.drop_caches().map_err(ReadBackError::DropCaches)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; CHUNK.min(payload.length) as usize];
    let mut offset = 0;
    while offset < payload.length {
        let chunk = &mut buffer[..CHUNK.min(payload.length - offset) as usize];
        disk.read_at(offset, chunk).map_err(|source| ReadBackError::Read { offset, source })?;
        hasher.update(&*chunk);
        offset += chunk.len() as u64;
        progress(offset);
    }
    let found = Digest::new(hasher.finalize().into());
    if found != payload.sha256 {
        return Err(ReadBackError::Mismatch { expected: payload.sha256, found });
    }
    Ok(())
}
