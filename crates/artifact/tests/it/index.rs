//! Indexes and frames as a stranger may send them: refused with an error, never a panic, never too many bytes.

use std::io::Read;
use std::sync::LazyLock;

use crate::samples::{Noise, SEGMENT, Sample, id_of, payload};
use artifact::{Index, IndexError, MAX_SEGMENTS, PayloadId, SegmentError, max_index_len};
use proptest::prelude::*;

fn sample() -> &'static Sample {
    static SAMPLE: LazyLock<Sample> = LazyLock::new(|| Sample::new(payload(5, 9 * SEGMENT as usize + 4321)));
    &SAMPLE
}

/// The index of the sample with some bytes replaced.
fn patched(sample: &Sample, at: usize, with: &[u8]) -> Vec<u8> {
    let mut bytes = sample.index_bytes().to_vec();
    bytes[at..at + with.len()].copy_from_slice(with);
    bytes
}

#[test]
fn an_index_is_read_alike_from_bytes_and_from_an_artifact() {
    let sample = sample();
    let parsed = Index::parse(sample.index_bytes(), id_of(&sample.payload)).unwrap();
    assert_eq!(parsed, *sample.index);
    assert_eq!(parsed.segments().len(), 10);
    assert_eq!(parsed.level(), 1);
    assert_eq!(parsed.segments()[9].payload_length, 4321);
    assert_eq!(parsed.segments()[9].payload_offset, 9 * u64::from(SEGMENT));
    assert!(parsed.segment(10).is_none() && parsed.segment(u64::MAX).is_none());
    assert!(parsed.index_len() <= max_index_len(parsed.payload().length));
}

#[test]
fn the_longest_index_is_bounded_for_any_length() {
    assert_eq!(max_index_len(0), 128);
    assert_eq!(max_index_len(1), 128 + 48);
    assert_eq!(max_index_len(u64::MAX), 128 + 48 * MAX_SEGMENTS);
}

#[test]
fn an_index_of_another_payload_is_refused() {
    let sample = sample();
    for other in [id_of(b"other"), PayloadId { length: sample.id().length - 1, ..sample.id() }] {
        assert!(matches!(Index::parse(sample.index_bytes(), other), Err(IndexError::OtherPayload { .. })));
    }
}

#[test]
fn each_lie_in_header_or_table_has_its_own_error() {
    let sample = sample();
    let parse = |at: usize, with: &[u8]| Index::read_from(&mut &*patched(sample, at, with)).unwrap_err();
    assert!(matches!(parse(0, b"F"), IndexError::Magic));
    assert!(matches!(parse(8, &[2]), IndexError::Unsupported { field: "format", found: 2, .. }));
    assert!(matches!(parse(10, &[2]), IndexError::Unsupported { field: "kind", found: 2, .. }));
    assert!(matches!(parse(11, &[0]), IndexError::Unsupported { field: "codec", found: 0, .. }));
    for reserved in [13, 20, 64, 72, 103, 112, 127, 128 + 12] {
        assert!(matches!(parse(reserved, &[1]), IndexError::Reserved), "byte {reserved}");
    }
    for size in [0, 1, SEGMENT / 2, SEGMENT + 1, 3 * SEGMENT, 32 << 20, u32::MAX] {
        assert!(matches!(parse(16, &size.to_le_bytes()), IndexError::SegmentSize(_)), "size {size}");
    }
    assert!(matches!(parse(24, &u64::MAX.to_le_bytes()), IndexError::TooManySegments { .. }));
    for count in [0, 9, 11, u64::MAX] {
        assert!(matches!(parse(104, &count.to_le_bytes()), IndexError::SegmentCount { expected: 10, .. }));
    }
    let second = 128 + 48;
    for offset in [0, 127, sample.index.segments()[1].frame_offset + 1, u64::MAX] {
        let error = parse(second, &offset.to_le_bytes());
        assert!(matches!(error, IndexError::FrameOffset { number: 1, .. }), "{offset}: {error:?}");
    }
    assert!(matches!(parse(second + 8, &u32::MAX.to_le_bytes()), IndexError::FrameLength { number: 1, .. }));
    let zero = sample.index.segments().iter().find(|segment| segment.is_zero()).unwrap().number;
    let error = parse(128 + 48 * zero as usize + 16, &[1, 2, 3]);
    assert!(matches!(error, IndexError::ZeroDigest(number) if number == zero));
}

#[test]
fn too_few_or_too_many_bytes_are_refused() {
    let sample = sample();
    let bytes = sample.index_bytes();
    for length in [0, 1, 127, 128, 129, bytes.len() - 1] {
        let error = Index::parse(&bytes[..length], sample.id()).unwrap_err();
        assert!(matches!(error, IndexError::Length { .. }), "{length}: {error:?}");
        assert!(matches!(Index::read_from(&mut &bytes[..length]), Err(IndexError::Length { .. })));
    }
    let longer = [bytes, &[0]].concat();
    assert!(matches!(Index::parse(&longer, sample.id()), Err(IndexError::Length { .. })));
}

#[test]
fn reading_stops_where_the_index_ends() {
    let sample = sample();
    let mut artifact = &*sample.artifact;
    Index::read_from(&mut artifact).unwrap();
    assert_eq!(artifact.len(), sample.artifact.len() - sample.index_bytes().len());

    // The largest index that a header may claim, and a source that never ends: no more than it is read.
    let mut header = sample.index_bytes()[..128].to_vec();
    header[24..32].copy_from_slice(&(MAX_SEGMENTS * u64::from(SEGMENT)).to_le_bytes());
    header[104..112].copy_from_slice(&MAX_SEGMENTS.to_le_bytes());
    let mut endless = Read::chain(&*header, std::io::repeat(1).take(60 << 20));
    assert!(Index::read_from(&mut endless).is_err());
    assert!(endless.get_ref().1.limit() >= 12 << 20, "only the index may be read");
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..700)) {
        prop_assert!(Index::parse(&bytes, id_of(b"x")).is_err());
        prop_assert!(Index::read_from(&mut &*bytes).is_err());
    }

    /// A mutated index that still parses stays within its bounds, so that its readers do.
    #[test]
    fn mutated_indexes_are_refused_or_within_bounds(
        changes in prop::collection::vec((0usize..128 + 48 * 10, any::<u8>()), 1..6), frame: Vec<u8>,
    ) {
        let sample = sample();
        let mut bytes = sample.index_bytes().to_vec();
        for (at, value) in changes {
            bytes[at] = value;
        }
        let Ok(index) = Index::read_from(&mut &*bytes) else { return Ok(()) };
        let (mut payload_end, mut frame_end, mut out) = (0, index.index_len(), Vec::new());
        for segment in index.segments() {
            prop_assert_eq!((segment.payload_offset, segment.frame_offset), (payload_end, frame_end));
            payload_end += u64::from(segment.payload_length);
            frame_end += u64::from(segment.frame_length);
            let _ = index.decode(segment.number, &frame, &mut out);
            let from = (segment.frame_offset as usize).min(sample.artifact.len());
            let to = (frame_end as usize).min(sample.artifact.len());
            let decoded = index.decode(segment.number, &sample.artifact[from..to], &mut out);
            prop_assert_eq!(out.len(), if decoded.is_ok() { segment.payload_length as usize } else { 0 });
        }
        prop_assert_eq!((payload_end, frame_end), (index.payload().length, index.artifact_len()));
    }

    #[test]
    fn mutated_frames_give_the_segment_or_an_error(
        number in 0u64..10, changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let sample = sample();
        let mut frame = sample.frame(number).to_vec();
        for (at, value) in changes.iter().filter(|_| !frame.is_empty()).cloned().collect::<Vec<_>>() {
            let at = at.index(frame.len());
            frame[at] = value;
        }
        let mut out = Vec::new();
        match sample.index.decode(number, &frame, &mut out) {
            Ok(()) => {
                let from = number as usize * SEGMENT as usize;
                prop_assert!(out == sample.payload[from..from + out.len()]);
            }
            Err(_) => prop_assert!(out.is_empty() && frame != sample.frame(number)),
        }
    }
}

/// An index of one segment of `length` bytes whose frame is said to be as long as `frame`.
fn one_segment(length: usize, frame: &[u8]) -> Index {
    let mut bytes = vec![1; length];
    Noise::new(4).fill(&mut bytes);
    let sample = Sample::new(bytes);
    Index::parse(&patched(&sample, 128 + 8, &(frame.len() as u32).to_le_bytes()), sample.id()).unwrap()
}

#[test]
fn decompression_bomb() {
    let length = SEGMENT as usize;
    let shape = |frame: &[u8]| {
        let mut out = vec![9; 10];
        let error = one_segment(length, frame).decode(0, frame, &mut out).unwrap_err();
        assert!(matches!(error, SegmentError::Shape { number: 0, .. }), "{error:?}");
        assert!(out.is_empty());
    };
    let bomb = zstd::bulk::compress(&vec![0; 64 << 20], 1).unwrap();
    shape(&bomb);
    let unsized_frame = zstd::stream::encode_all(&*vec![0; length], 1).unwrap();
    shape(&unsized_frame);
    let right = zstd::bulk::compress(&vec![7; length], 1).unwrap();
    shape(&[&*right, &right].concat());
    shape(&[&*right, &[0]].concat());
    let skippable = [&0x184D_2A50_u32.to_le_bytes()[..], &8_u32.to_le_bytes(), &[0; 8]].concat();
    shape(&[&*skippable, &right].concat());
    shape(&skippable);
    shape(&right[..right.len() - 1]);
}

#[test]
fn a_frame_that_lies_about_its_length_is_cut_off() {
    let mut frame = zstd::bulk::compress(&vec![7; 70_000], 1).unwrap();
    let stated = frame.windows(4).position(|w| w == 70_000_u32.to_le_bytes()).unwrap();
    frame[stated..stated + 4].copy_from_slice(&SEGMENT.to_le_bytes());
    let mut out = Vec::new();
    let error = one_segment(SEGMENT as usize, &frame).decode(0, &frame, &mut out).unwrap_err();
    assert!(matches!(error, SegmentError::Decode { .. } | SegmentError::Digest { .. }), "{error:?}");
    assert!(out.is_empty());
}

#[test]
fn poisoned_piece() {
    // Valid in form, but of another place or another origin.
    let sample = sample();
    let mut out = Vec::new();
    let total = sample.index.segments().len() as u64;
    assert!(matches!(sample.index.decode(total, &[], &mut out), Err(SegmentError::Unknown { .. })));
    let error = sample.index.decode(0, &[1, 2, 3], &mut out).unwrap_err();
    assert!(matches!(error, SegmentError::FrameLength { found: 3, .. }));
    let other = zstd::bulk::compress(&vec![7; SEGMENT as usize], 1).unwrap();
    let error = one_segment(SEGMENT as usize, &other).decode(0, &other, &mut out).unwrap_err();
    assert!(matches!(error, SegmentError::Digest { .. }));
}
