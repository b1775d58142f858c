//! One frame back into one segment, within bounds, and only if its digest is right.

use std::io;

use fleet_types::Digest;
use zstd::zstd_safe;

use crate::bytes::{all_zero, sha256};
use crate::index::Index;

/// The four bytes every zstd frame begins with.
///
/// Skippable and legacy frames have others and are not let near the decoder.
const ZSTD_MAGIC: [u8; 4] = 0xFD2F_B528_u32.to_le_bytes();

/// Why a frame was refused: fetch it again, from another source if it repeats.
#[derive(Debug, thiserror::Error)]
pub enum SegmentError {
    /// The artifact has no segment of that number.
    #[error("there is no segment {number}; the artifact has {total}")]
    Unknown {
        /// The number asked for.
        number: u64,
        /// How many segments there are.
        total: u64,
    },
    /// The frame is longer or shorter than the table says.
    #[error("the frame of segment {number} has {found} bytes instead of {expected}: fetch it again")]
    FrameLength {
        /// The segment.
        number: u64,
        /// What the table says, in bytes.
        expected: u32,
        /// What was given, in bytes.
        found: u64,
    },
    /// The bytes are not exactly one zstd frame that says it holds exactly the segment.
    #[error("the frame of segment {number} is not a single zstd frame of {expected} bytes: fetch it again")]
    Shape {
        /// The segment.
        number: u64,
        /// The segment's length in bytes.
        expected: u32,
    },
    /// The frame does not decode.
    #[error("the frame of segment {number} is damaged: fetch it again")]
    Decode {
        /// The segment.
        number: u64,
        /// What the decoder said.
        source: io::Error,
    },
    /// It decodes to other bytes than the table promises.
    #[error("segment {number} has the digest {found} instead of {expected}: fetch it again")]
    Digest {
        /// The segment.
        number: u64,
        /// The digest in the table.
        expected: Digest,
        /// The digest of what came out.
        found: Digest,
    },
}

impl Index {
    /// Decodes the frame of segment `number` into `out`, which is overwritten, and checks it.
    ///
    /// For a segment of zeros the frame is empty. On an error `out` is empty: bytes that were not checked are never
    /// handed on.
    ///
    /// At most the segment's own length comes out. No window is allocated, whatever the frame's header asks for,
    /// because a frame is decoded in one call straight into `out`.
    ///
    /// # Errors
    /// [`SegmentError`], naming the segment.
    pub fn decode(&self, number: u64, frame: &[u8], out: &mut Vec<u8>) -> Result<(), SegmentError> {
        out.clear();
        let decoded = self.decode_unguarded(number, frame, out);
        if decoded.is_err() {
            out.clear();
        }
        decoded
    }

    fn decode_unguarded(&self, number: u64, frame: &[u8], out: &mut Vec<u8>) -> Result<(), SegmentError> {
        let total = self.segments().len() as u64;
        let segment = self.segment(number).ok_or(SegmentError::Unknown { number, total })?;
        if frame.len() as u64 != u64::from(segment.frame_length) {
            let (expected, found) = (segment.frame_length, frame.len() as u64);
            return Err(SegmentError::FrameLength { number, expected, found });
        }
        let length = segment.payload_length as usize;
        out.resize(length, 0);
        if segment.is_zero() {
            // The index was refused unless such a segment has the digest of so many zeros.
            debug_assert!(all_zero(out));
            return Ok(());
        }
        if !is_one_frame_of(frame, length) {
            return Err(SegmentError::Shape { number, expected: segment.payload_length });
        }
        let written = zstd::bulk::Decompressor::new()
            .and_then(|mut decoder| decoder.decompress_to_buffer(frame, out.as_mut_slice()))
            .map_err(|source| SegmentError::Decode { number, source })?;
        let found = sha256(&out[..written]);
        if written != length || found != segment.sha256 {
            return Err(SegmentError::Digest { number, expected: segment.sha256, found });
        }
        Ok(())
    }
}

/// Whether the bytes are exactly one frame whose header declares `length` bytes.
fn is_one_frame_of(frame: &[u8], length: usize) -> bool {
    frame.starts_with(&ZSTD_MAGIC)
        && zstd_safe::get_frame_content_size(frame).is_ok_and(|size| size == Some(length as u64))
        && zstd_safe::find_frame_compressed_size(frame).is_ok_and(|size| size == frame.len())
}
