//! Indexes and frames of artifacts.

use artifact::{Index, PayloadId};
use fleet_types::Digest;
use sha2::{Digest as _, Sha256};

use crate::case::{Hostile, Reader};

const SEGMENT: u32 = 64 << 10;
const LENGTH: usize = 100_000;

fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

fn content() -> Vec<u8> {
    (0..LENGTH).map(|i| (i * 31 % 251) as u8).collect()
}

/// The payload whose index every hostile one pretends to be.
pub(crate) fn payload() -> PayloadId {
    PayloadId { sha256: Digest::new(sha256(&content())), length: LENGTH as u64 }
}

fn compress(bytes: &[u8]) -> Vec<u8> {
    zstd::bulk::compress(bytes, 1).unwrap_or_default()
}

/// An index of [`payload`] with frames of the given lengths, valid or not.
fn index(length: u64, segments: u64, frames: &[u32]) -> Vec<u8> {
    let content = content();
    let mut out = b"\xf1filial\n\x01\0\x01\x01\x01\0\0\0".to_vec();
    out.extend(SEGMENT.to_le_bytes());
    out.extend([0; 4]);
    out.extend(length.to_le_bytes());
    out.extend(sha256(&content));
    out.extend([0; 40]);
    out.extend(segments.to_le_bytes());
    out.extend([0; 16]);
    let mut offset = 128 + 48 * frames.len() as u64;
    for (frame, segment) in frames.iter().zip(content.chunks(SEGMENT as usize)) {
        out.extend(offset.to_le_bytes());
        out.extend(frame.to_le_bytes());
        out.extend([0; 4]);
        out.extend(sha256(segment));
        offset += u64::from(*frame);
    }
    out
}

/// An index that is taken.
pub fn good_index() -> Vec<u8> {
    let frames: Vec<u32> = content().chunks(SEGMENT as usize).map(|s| compress(s).len() as u32).collect();
    index(LENGTH as u64, 2, &frames)
}

/// The frame of the payload's first segment.
pub fn good_frame() -> Vec<u8> {
    compress(&content()[..SEGMENT as usize])
}

/// Reads a frame as the first segment of an artifact whose table gives it just this length.
pub(crate) fn read_frame(frame: &[u8]) -> Result<(), &'static str> {
    let index = Index::parse(&index(LENGTH as u64, 2, &[frame.len() as u32, 100]), payload()).map_err(|e| e.code())?;
    index.decode(0, frame, &mut Vec::new()).map_err(|e| e.code())
}

/// Decodes bytes as the frame of a segment that a table gives just this length.
///
/// # Panics
/// What comes out was not checked: more or less than the segment, or bytes in spite of an error.
pub fn decode_frame(frame: &[u8]) {
    let length = u32::try_from(frame.len()).unwrap_or(u32::MAX);
    let Ok(index) = Index::parse(&index(LENGTH as u64, 2, &[length, 100]), payload()) else { return };
    let mut out = vec![1, 2, 3];
    match index.decode(0, frame, &mut out) {
        Ok(()) => assert_eq!(sha256(&out), sha256(&content()[..SEGMENT as usize]), "another segment was let through"),
        Err(_) => assert!(out.is_empty(), "bytes came out of a frame that was refused"),
    }
}

pub(crate) fn hostile() -> Vec<Hostile> {
    [indexes(), frames()].concat()
}

fn indexes() -> Vec<Hostile> {
    let good = good_index();
    let put = |at: usize, bytes: &[u8]| {
        let mut index = good.clone();
        index[at..at + bytes.len()].copy_from_slice(bytes);
        index
    };
    let one = |name, code, bytes| Hostile::new(Reader::Index, name, code, bytes);
    let mut long = good.clone();
    long.extend([0; 48]);
    vec![
        one("index-empty", "index-length", Vec::new()),
        one("index-header-cut", "index-length", good[..127].to_vec()),
        one("index-table-cut", "index-length", good[..200].to_vec()),
        one("index-table-longer-than-declared", "index-length", long),
        one("index-magic", "index-magic", put(0, b"\xf1FILIAL\n")),
        one("index-format", "index-format", put(8, &[2])),
        one("index-kind", "index-kind", put(10, &[2])),
        one("index-codec", "index-codec", put(11, &[0])),
        one("index-reserved-in-the-header", "index-reserved", put(13, &[1])),
        one("index-base-of-a-full-artifact", "index-reserved", put(72, &[1])),
        one("index-reserved-in-the-table", "index-reserved", put(128 + 12, &[1])),
        one("index-segment-size-zero", "index-segment-size", put(16, &[0; 4])),
        one("index-segment-size-odd", "index-segment-size", put(16, &65_537u32.to_le_bytes())),
        one("index-segment-size-of-a-gibibyte", "index-segment-size", put(16, &(1u32 << 30).to_le_bytes())),
        one("index-of-exabytes", "index-too-many-segments", put(24, &u64::MAX.to_le_bytes())),
        one("index-of-nothing", "index-other-payload", index(0, 0, &[])),
        one("index-of-another-payload", "index-other-payload", put(32, &[0; 32])),
        one("index-segments-too-many", "index-segment-count", put(104, &u64::MAX.to_le_bytes())),
        one("index-segments-none", "index-segment-count", put(104, &[0; 8])),
        one("index-frames-overlap", "index-frame-offset", put(176, &224u64.to_le_bytes())),
        one("index-frame-before-the-table", "index-frame-offset", put(128, &[0; 8])),
        one("index-frame-offset-overflows", "index-frame-offset", put(176, &u64::MAX.to_le_bytes())),
        one("index-frame-of-gigabytes", "index-frame-length", put(136, &u32::MAX.to_le_bytes())),
        one("index-zeros-that-are-none", "index-zero-digest", put(136, &[0; 4])),
    ]
}

fn frames() -> Vec<Hostile> {
    let good = good_frame();
    let first = &content()[..SEGMENT as usize];
    let one = |name, code, bytes| Hostile::new(Reader::Frame, name, code, bytes);
    // A frame header by hand (RFC 8878, 3.1.1): a window of any size or a dictionary, the right content size, one raw block.
    let header = |descriptor: u8, rest: &[u8]| {
        let mut frame = b"\x28\xb5\x2f\xfd".to_vec();
        frame.push(descriptor);
        frame.extend(rest);
        frame.extend(SEGMENT.to_le_bytes());
        frame.extend(((200u32 << 3) | 1).to_le_bytes()[..3].iter());
        frame.extend([7; 200]);
        frame
    };
    let mut skippable = b"\x50\x2a\x4d\x18\x04\0\0\0abcd".to_vec();
    skippable.extend(&good);
    let mut other = first.to_vec();
    other[0] ^= 1;
    vec![
        one("frame-garbage", "segment-shape", vec![0xaa; 300]),
        one("frame-cut", "segment-shape", good[..good.len() - 1].to_vec()),
        one("frame-with-a-byte-behind-it", "segment-shape", [good.clone(), vec![0]].concat()),
        one("frame-twice", "segment-shape", [good.clone(), good.clone()].concat()),
        one("frame-behind-a-skippable-one", "segment-shape", skippable),
        one("frame-bomb", "segment-shape", compress(&vec![0; 64 << 20])),
        one("frame-too-short", "segment-shape", compress(&first[..1000])),
        one("frame-of-a-window-of-terabytes", "segment-shape", header(0x80, &[0xff])),
        one("frame-of-a-window-of-two-gibibytes", "segment-damaged", header(0x80, &[0xa8])),
        one("frame-that-wants-a-dictionary", "segment-damaged", header(0xa1, &[7])),
        one("frame-damaged", "segment-digest", compress(&other)),
        one("frame-with-a-broken-block", "segment-damaged", damaged_block(&good)),
    ]
}

/// The frame with its first block's content type made reserved (RFC 8878, 3.1.1.2.2).
fn damaged_block(good: &[u8]) -> Vec<u8> {
    let mut frame = good.to_vec();
    let middle = frame.len() / 2;
    frame[middle..].iter_mut().for_each(|b| *b = !*b);
    frame
}
