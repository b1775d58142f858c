//! The index: header and segment table, parsed as a stranger's bytes.

use std::io::{self, Read};

use fleet_types::Digest;
use sha2::{Digest as _, Sha256};
use zstd::zstd_safe;

use crate::bytes::sha256;
use crate::payload::{MAX_SEGMENT_SIZE, MAX_SEGMENTS, MIN_SEGMENT_SIZE, PayloadId};

const MAGIC: [u8; 8] = *b"\xf1filial\n";
const FORMAT: u16 = 1;
const KIND_FULL: u8 = 1;
const CODEC_ZSTD: u8 = 1;
const HEADER_LEN: u64 = 128;
const ENTRY_LEN: u64 = 48;

/// The longest index that an artifact of a payload of this length can have, in bytes.
///
/// What a reader may have to fetch.
pub fn max_index_len(payload_length: u64) -> u64 {
    index_len(payload_length.div_ceil(u64::from(MIN_SEGMENT_SIZE)).min(MAX_SEGMENTS))
}

/// The length of an index of so many segments.
///
/// The caller has checked their number against [`MAX_SEGMENTS`].
pub(crate) fn index_len(segments: u64) -> u64 {
    HEADER_LEN + ENTRY_LEN * segments
}

/// Why an index was refused. Nothing of a refused index is used.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// The bytes could not be read.
    #[error("cannot read the artifact's index")]
    Read(#[source] io::Error),
    /// There are more or fewer bytes than the header implies.
    #[error("the index has {found} bytes instead of {expected}: fetch it again")]
    Length {
        /// What header and table must have together.
        expected: u64,
        /// What there is.
        found: u64,
    },
    /// It does not begin like an artifact.
    #[error("not an artifact: it does not start with the magic bytes")]
    Magic,
    /// It is an artifact of a kind, format or codec that this program does not know.
    #[error("the artifact's {field} is {found}, which this version does not support: update this program first")]
    Unsupported {
        /// Which field of the header.
        field: &'static str,
        /// The code for that field.
        code: &'static str,
        /// Its value.
        found: u64,
    },
    /// A field that has to be zero is not.
    #[error("the index has data in a reserved field: fetch it again")]
    Reserved,
    /// The segment size is not a power of two between the limits.
    #[error("the segment size is {0} bytes; it must be a power of two from 64 KiB to 16 MiB")]
    SegmentSize(u32),
    /// There would be more segments than an artifact may have.
    #[error("a payload of {length} bytes has {segments} segments, more than the limit of {MAX_SEGMENTS}")]
    TooManySegments {
        /// The payload's length.
        length: u64,
        /// The number of segments that it would have.
        segments: u64,
    },
    /// The header's number of segments does not follow from the payload's length.
    #[error("the index has {found} segments instead of {expected}: fetch it again")]
    SegmentCount {
        /// What the length gives.
        expected: u64,
        /// What the header says.
        found: u64,
    },
    /// It is the index of another payload than the one asked for.
    #[error("this is the index of payload {found}, not of {expected}", found = .found.sha256, expected = .expected.sha256)]
    OtherPayload {
        /// The payload asked for.
        expected: PayloadId,
        /// The payload that the header names.
        found: PayloadId,
    },
    /// A frame does not begin where the one before it ends.
    #[error("the frame of segment {number} starts at {found} instead of {expected}: fetch the index again")]
    FrameOffset {
        /// The segment.
        number: u64,
        /// Where the frame must begin.
        expected: u64,
        /// Where the table says it does.
        found: u64,
    },
    /// A frame is longer than any frame of that segment can be.
    #[error("the frame of segment {number} has {length} bytes; the limit is {bound}")]
    FrameLength {
        /// The segment.
        number: u64,
        /// What the table says.
        length: u32,
        /// The longest that zstd makes of such a segment.
        bound: u64,
    },
    /// A segment of zeros does not have the digest of zeros.
    #[error("segment {0} is marked as zeros but has another digest: fetch the index again")]
    ZeroDigest(u64),
}

/// One segment of a payload.
///
/// Where its frame is in the artifact, where its bytes go, and their digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// Its place in the table, from 0.
    pub number: u64,
    /// Where its frame begins in the artifact, in bytes.
    pub frame_offset: u64,
    /// How long its frame is, in bytes; 0 for a segment of zeros, which has no frame.
    pub frame_length: u32,
    /// Where its bytes begin in the payload.
    pub payload_offset: u64,
    /// How many bytes it holds: the segment size, except for the last segment.
    pub payload_length: u32,
    /// SHA-256 of those bytes.
    pub sha256: Digest,
}

impl Segment {
    /// Whether it is all zeros: nothing to fetch, but zeros to write.
    pub fn is_zero(&self) -> bool {
        self.frame_length == 0
    }

    /// Reads its frame out of an artifact file into `frame`, which is overwritten.
    ///
    /// Bounded: a parsed index never has a frame longer than its segment size allows.
    pub fn read_frame(&self, artifact: &std::fs::File, frame: &mut Vec<u8>) -> io::Result<()> {
        frame.clear();
        frame.resize(self.frame_length as usize, 0);
        std::os::unix::fs::FileExt::read_exact_at(artifact, frame, self.frame_offset)
    }
}

/// A checked index: segments without gaps, frames without overlap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Index {
    payload: PayloadId,
    segment_size: u32,
    level: u8,
    sha256: Digest,
    segments: Vec<Segment>,
}

impl Index {
    /// Reads an index that has to be the one of `payload`.
    ///
    /// # Errors
    /// [`IndexError`] for anything but exactly such an index. Memory used is proportional to `bytes`.
    pub fn parse(bytes: &[u8], payload: PayloadId) -> Result<Self, IndexError> {
        let header = Header::parse(bytes)?;
        if header.payload != payload {
            return Err(IndexError::OtherPayload { expected: payload, found: header.payload });
        }
        Self::with_header(header, bytes)
    }

    /// Reads the index at the beginning of an artifact; reads not a byte more.
    ///
    /// # Errors
    /// [`IndexError`]. Which payload it is has to be checked by the caller, with [`payload`](Self::payload).
    pub fn read_from(artifact: &mut impl Read) -> Result<Self, IndexError> {
        let mut bytes = Vec::new();
        // By `take`, so that memory grows with what is really there and not with what a header claims.
        artifact.take(HEADER_LEN).read_to_end(&mut bytes).map_err(IndexError::Read)?;
        let header = Header::parse(&bytes)?;
        artifact.take(ENTRY_LEN * header.segments).read_to_end(&mut bytes).map_err(IndexError::Read)?;
        Self::with_header(header, &bytes)
    }

    fn with_header(header: Header, bytes: &[u8]) -> Result<Self, IndexError> {
        let (expected, found) = (index_len(header.segments), bytes.len() as u64);
        if expected != found {
            return Err(IndexError::Length { expected, found });
        }
        let segments = header.parse_table(&bytes[HEADER_LEN as usize..])?;
        let Header { payload, segment_size, level, .. } = header;
        Ok(Self { payload, segment_size, level, sha256: sha256(bytes), segments })
    }

    /// The segments, in the order of the payload.
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// The segment of that number, if there is one.
    pub fn segment(&self, number: u64) -> Option<&Segment> {
        self.segments.get(usize::try_from(number).ok()?)
    }

    /// The payload that the segments make up.
    pub fn payload(&self) -> PayloadId {
        self.payload
    }

    /// Payload bytes a segment, except the last.
    pub fn segment_size(&self) -> u32 {
        self.segment_size
    }

    /// The zstd level that it says it was encoded with.
    pub fn level(&self) -> i32 {
        i32::from(self.level)
    }

    /// SHA-256 of the index itself: what the plan names.
    pub fn sha256(&self) -> Digest {
        self.sha256
    }

    /// The index's own length in bytes; the frames begin there.
    pub fn index_len(&self) -> u64 {
        index_len(self.segments.len() as u64)
    }

    /// The length of the whole artifact file in bytes.
    pub fn artifact_len(&self) -> u64 {
        // Frames are contiguous, so the last entry ends the file; a segment of zeros ends where it begins.
        self.segments.last().map_or(self.index_len(), |last| last.frame_offset + u64::from(last.frame_length))
    }
}

/// What a payload of `length` has in segments of that size.
pub(crate) fn segment_count(length: u64, segment_size: u32) -> Result<u64, IndexError> {
    if !(MIN_SEGMENT_SIZE..=MAX_SEGMENT_SIZE).contains(&segment_size) || !segment_size.is_power_of_two() {
        return Err(IndexError::SegmentSize(segment_size));
    }
    let segments = length.div_ceil(u64::from(segment_size));
    if segments > MAX_SEGMENTS {
        return Err(IndexError::TooManySegments { length, segments });
    }
    Ok(segments)
}

/// Returns the length of the existing segment `number` of a payload of `length` bytes.
pub(crate) fn segment_length(length: u64, segment_size: u32, number: u64) -> u32 {
    let rest = length.saturating_sub(number * u64::from(segment_size));
    u32::try_from(rest).map_or(segment_size, |rest| rest.min(segment_size))
}

/// A table entry as the encoder knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Entry {
    pub frame_length: u32,
    pub sha256: Digest,
}

/// The bytes of the index of a full artifact whose frames lie one after the other.
pub(crate) fn write_full(payload: PayloadId, segment_size: u32, level: u8, entries: &[Entry]) -> Vec<u8> {
    let count = entries.len() as u64;
    let mut bytes = Vec::with_capacity(index_len(count) as usize);
    bytes.extend(MAGIC);
    bytes.extend(FORMAT.to_le_bytes());
    bytes.extend([KIND_FULL, CODEC_ZSTD, level, 0, 0, 0]);
    bytes.extend(segment_size.to_le_bytes());
    bytes.extend([0; 4]);
    bytes.extend(payload.length.to_le_bytes());
    bytes.extend(payload.sha256.as_bytes());
    bytes.extend([0; 40]);
    bytes.extend(count.to_le_bytes());
    bytes.extend([0; 16]);
    let mut offset = index_len(count);
    for entry in entries {
        bytes.extend(offset.to_le_bytes());
        bytes.extend(entry.frame_length.to_le_bytes());
        bytes.extend([0; 4]);
        bytes.extend(entry.sha256.as_bytes());
        offset += u64::from(entry.frame_length);
    }
    bytes
}

struct Header {
    payload: PayloadId,
    segment_size: u32,
    level: u8,
    segments: u64,
}

impl Header {
    fn parse(mut bytes: &[u8]) -> Result<Self, IndexError> {
        let all = bytes.len() as u64;
        if all < HEADER_LEN {
            return Err(IndexError::Length { expected: HEADER_LEN, found: all });
        }
        let bytes = &mut bytes;
        if take::<8>(bytes)? != MAGIC {
            return Err(IndexError::Magic);
        }
        supported("format", "index-format", u64::from(u16::from_le_bytes(take(bytes)?)), FORMAT.into())?;
        let [kind, codec, level] = take(bytes)?;
        // The base of a delta has its place in the header already; reading deltas comes with making them.
        supported("kind", "index-kind", kind.into(), KIND_FULL.into())?;
        supported("codec", "index-codec", codec.into(), CODEC_ZSTD.into())?;
        zero(take::<3>(bytes)?)?;
        let segment_size = u32::from_le_bytes(take(bytes)?);
        zero(take::<4>(bytes)?)?;
        let length = u64::from_le_bytes(take(bytes)?);
        let payload = PayloadId { length, sha256: Digest::new(take(bytes)?) };
        zero(take::<40>(bytes)?)?;
        let found = u64::from_le_bytes(take(bytes)?);
        zero(take::<16>(bytes)?)?;
        let segments = segment_count(length, segment_size)?;
        if segments != found {
            return Err(IndexError::SegmentCount { expected: segments, found });
        }
        Ok(Self { payload, segment_size, level, segments })
    }

    /// The table, whose length the caller has checked.
    fn parse_table(&self, mut table: &[u8]) -> Result<Vec<Segment>, IndexError> {
        let mut segments = Vec::with_capacity(table.len() / ENTRY_LEN as usize);
        let mut expected = index_len(self.segments);
        let mut zeros = Zeros::default();
        for number in 0..self.segments {
            let frame_offset = u64::from_le_bytes(take(&mut table)?);
            let frame_length = u32::from_le_bytes(take(&mut table)?);
            zero(take::<4>(&mut table)?)?;
            let sha256 = Digest::new(take(&mut table)?);
            if frame_offset != expected {
                return Err(IndexError::FrameOffset { number, expected, found: frame_offset });
            }
            let payload_length = segment_length(self.payload.length, self.segment_size, number);
            let bound = zstd_safe::compress_bound(payload_length as usize) as u64;
            if u64::from(frame_length) > bound {
                return Err(IndexError::FrameLength { number, length: frame_length, bound });
            }
            if frame_length == 0 && sha256 != zeros.digest(payload_length) {
                return Err(IndexError::ZeroDigest(number));
            }
            // Cannot overflow: at most 2^20 frames of at most some 16 MiB.
            expected += u64::from(frame_length);
            let payload_offset = number * u64::from(self.segment_size);
            segments.push(Segment { number, frame_offset, frame_length, payload_offset, payload_length, sha256 });
        }
        Ok(segments)
    }
}

/// Digests of zeros, hashed once for each length.
///
/// There are two, a whole segment's and the last one's.
#[derive(Debug, Default)]
pub(crate) struct Zeros(Vec<(u32, Digest)>);

impl Zeros {
    pub(crate) fn digest(&mut self, length: u32) -> Digest {
        if let Some((_, digest)) = self.0.iter().find(|(known, _)| *known == length) {
            return *digest;
        }
        // In pieces: a table of one line must not make its reader allocate a whole segment.
        const PIECE: [u8; 4096] = [0; 4096];
        let mut hash = Sha256::new();
        let mut left = length as usize;
        while left > 0 {
            let piece = left.min(PIECE.len());
            hash.update(&PIECE[..piece]);
            left -= piece;
        }
        let digest = Digest::new(hash.finalize().into());
        self.0.push((length, digest));
        digest
    }
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Result<[u8; N], IndexError> {
    let (head, rest) =
        bytes.split_first_chunk().ok_or(IndexError::Length { expected: N as u64, found: bytes.len() as u64 })?;
    *bytes = rest;
    Ok(*head)
}

fn zero<const N: usize>(reserved: [u8; N]) -> Result<(), IndexError> {
    if reserved == [0; N] { Ok(()) } else { Err(IndexError::Reserved) }
}

fn supported(field: &'static str, code: &'static str, found: u64, known: u64) -> Result<(), IndexError> {
    if found == known { Ok(()) } else { Err(IndexError::Unsupported { field, code, found }) }
}
