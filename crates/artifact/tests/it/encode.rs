//! The encoder: the same artifact whatever happens on the way, and never one of other bytes.

use std::fs::File;
use std::io;
use std::sync::Mutex;

use crate::samples::{Memory, Noise, Place, SEGMENT, flip, id_of, options, payload, sha256};
use artifact::{EncodeError, EncodeOptions, FileRange, Index, JournalError, PayloadId, PayloadSource};
use proptest::prelude::*;

const SEGMENTS: usize = 24;

fn usual() -> Vec<u8> {
    payload(1, SEGMENTS * SEGMENT as usize - 1000)
}

fn decode_all(artifact: &[u8], id: PayloadId) -> Vec<u8> {
    let index = Index::read_from(&mut &*artifact).unwrap();
    assert_eq!(index.payload(), id);
    assert_eq!(index.artifact_len(), artifact.len() as u64);
    let (mut all, mut bytes) = (Vec::new(), Vec::new());
    for segment in index.segments() {
        let from = segment.frame_offset as usize;
        index.decode(segment.number, &artifact[from..from + segment.frame_length as usize], &mut bytes).unwrap();
        all.extend(&bytes);
    }
    all
}

#[test]
fn the_artifact_decodes_to_the_payload_and_is_described_truly() {
    let bytes = usual();
    let place = Place::new();
    let encoded = place.encode(&bytes, &options(2)).unwrap();
    let artifact = place.artifact();
    assert!(decode_all(&artifact, id_of(&bytes)) == bytes);
    assert_eq!(encoded.sha256, sha256(&artifact));
    assert_eq!(encoded.length, artifact.len() as u64);
    let index = &artifact[..encoded.index_length as usize];
    assert_eq!(encoded.index_sha256, sha256(index));
    assert_eq!(Index::parse(index, id_of(&bytes)).unwrap().sha256(), encoded.index_sha256);
    assert_eq!(encoded.segments, SEGMENTS as u64);
    let zeros = bytes.chunks(SEGMENT as usize).filter(|segment| segment.iter().all(|b| *b == 0)).count();
    assert!(zeros > 0, "the payload must have such segments for this test to say anything");
    assert_eq!(encoded.zero_segments, zeros as u64);
    assert!(std::fs::read_dir(place.work()).unwrap().next().is_none(), "the work folder is empty afterwards");
}

#[test]
fn any_number_of_workers_makes_the_same_artifact() {
    let bytes = usual();
    let artifacts = [1, 2, 3, 16].map(|workers| {
        let place = Place::new();
        place.encode(&bytes, &options(workers)).unwrap();
        place.artifact()
    });
    assert!(artifacts.iter().all(|artifact| *artifact == artifacts[0]));
}

#[test]
fn zeros_take_no_space_and_nothing_is_an_artifact_too() {
    for (length, segments) in [(0, 0), (1, 1), (5 * SEGMENT as usize + 7, 6)] {
        let bytes = vec![0; length];
        let place = Place::new();
        let encoded = place.encode(&bytes, &options(2)).unwrap();
        assert_eq!((encoded.segments, encoded.zero_segments), (segments, segments));
        assert_eq!(encoded.length, encoded.index_length);
        assert!(decode_all(&place.artifact(), id_of(&bytes)) == bytes);
    }
}

#[test]
fn a_payload_inside_a_file_is_read_in_place() {
    let bytes = usual();
    let place = Place::new();
    let archive = place.0.path().join("archive");
    let mut whole = b"what comes before".to_vec();
    whole.extend(&bytes);
    whole.extend(b"and after");
    io::Write::write_all(&mut File::create(&archive).unwrap(), &whole).unwrap();
    let range = FileRange::new(File::open(&archive).unwrap(), 17, bytes.len() as u64);
    place.encode_as(&range, id_of(&bytes), &options(2), &|_| {}, &|| false).unwrap();
    assert!(decode_all(&place.artifact(), id_of(&bytes)) == bytes);
}

#[test]
fn progress_only_grows_and_ends_with_everything() {
    let bytes = usual();
    let place = Place::new();
    place.encode_some(&bytes, id_of(&bytes), &options(2), 5);
    let seen = Mutex::new(Vec::new());
    let report = |p| seen.lock().unwrap().push(p);
    place.encode_as(&Memory(bytes.clone()), id_of(&bytes), &options(2), &report, &|| false).unwrap();
    let seen = seen.into_inner().unwrap();
    assert!(seen.is_sorted_by_key(|p| p.done) && seen.is_sorted_by_key(|p| p.artifact_bytes));
    let last = seen.last().unwrap();
    assert_eq!((last.done, last.total), (bytes.len() as u64, bytes.len() as u64));
    assert_eq!(last.resumed, 5 * u64::from(SEGMENT));
    assert_eq!(last.artifact_bytes, place.artifact().len() as u64);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// However often a run is stopped, and whatever a crash did to the ends of the work files meanwhile.
    #[test]
    fn stopped_and_damaged_and_continued_it_is_the_same_artifact(
        seed: u64, length in 1usize..20 * SEGMENT as usize, workers in 1usize..4,
        stops in prop::collection::vec((1u64..6, 0u8..6, any::<u64>()), 0..5),
    ) {
        let bytes = payload(seed, length);
        let (reference, place) = (Place::new(), Place::new());
        let expected = reference.encode(&bytes, &options(1)).unwrap();
        for (segments, damage, at) in stops {
            if place.encode_some(&bytes, id_of(&bytes), &options(workers), segments).is_some() {
                break;
            }
            harm(&place, damage, at);
        }
        prop_assert_eq!(place.encode(&bytes, &options(workers)).unwrap(), expected);
        prop_assert!(place.artifact() == reference.artifact());
    }
}

/// What may have become of the work files between two runs.
fn harm(place: &Place, damage: u8, at: u64) {
    let name = if damage.is_multiple_of(2) { "journal" } else { "frames" };
    let path = place.work().join(name);
    let file = File::options().read(true).write(true).open(&path).unwrap();
    let length = file.metadata().unwrap().len();
    match damage / 2 {
        0 => {}
        1 => file.set_len(length.saturating_sub(at % 200)).unwrap(),
        _ if length > 0 => flip(&path, at % length, (at % 8) as u8),
        _ => {}
    }
}

#[test]
fn a_resumed_run_does_not_encode_again_what_is_there() {
    let bytes = usual();
    let place = Place::new();
    assert!(place.encode_some(&bytes, id_of(&bytes), &options(2), 10).is_none());
    // Half a record: what a kill in the middle of a write leaves.
    let journal = File::options().write(true).open(place.work().join("journal")).unwrap();
    journal.set_len(journal.metadata().unwrap().len() - 30).unwrap();
    let resumed = Mutex::new(0);
    let report = |p: artifact::EncodeProgress| *resumed.lock().unwrap() = p.resumed;
    place.encode_as(&Memory(bytes.clone()), id_of(&bytes), &options(2), &report, &|| false).unwrap();
    assert_eq!(resumed.into_inner().unwrap(), 9 * u64::from(SEGMENT));
}

#[test]
fn work_of_another_payload_or_level_is_not_used() {
    let (bytes, other) = (usual(), payload(2, SEGMENTS * SEGMENT as usize - 1000));
    let level_3 = EncodeOptions { level: 3, ..options(2) };
    let wide = EncodeOptions { segment_size: 2 * SEGMENT, ..options(2) };
    for (before, settings) in [(&other, options(2)), (&bytes, level_3), (&bytes, wide)] {
        let (reference, place) = (Place::new(), Place::new());
        reference.encode(&bytes, &options(1)).unwrap();
        assert!(place.encode_some(before, id_of(before), &settings, 3).is_none());
        place.encode(&bytes, &options(2)).unwrap();
        assert!(place.artifact() == reference.artifact());
    }
}

#[test]
fn a_source_that_is_not_the_payload_makes_no_artifact() {
    let bytes = usual();
    let (first, last) = (100, bytes.len() - 100);
    for at in [first, last] {
        for stop_after in [0, 8] {
            let place = Place::new();
            if stop_after > 0 {
                place.encode_some(&bytes, id_of(&bytes), &options(2), stop_after);
            }
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            let error = place.encode_as(&Memory(changed.clone()), id_of(&bytes), &options(2), &|_| {}, &|| false);
            let Err(EncodeError::SourceDigest { expected, found }) = error else { panic!("{error:?}") };
            assert_eq!((expected, found), (sha256(&bytes), sha256(&changed)));
            assert!(!place.out().exists());
            assert!(std::fs::read_dir(place.work()).unwrap().next().is_none());
        }
    }
}

#[test]
fn a_source_that_was_changed_between_two_runs_and_back_is_the_payload() {
    let bytes = usual();
    let (reference, place) = (Place::new(), Place::new());
    reference.encode(&bytes, &options(1)).unwrap();
    let mut changed = bytes.clone();
    changed[2 * SEGMENT as usize + 5] ^= 1;
    place.encode_some(&changed, id_of(&bytes), &options(2), 6);
    place.encode(&bytes, &options(2)).unwrap();
    assert!(place.artifact() == reference.artifact());
}

#[test]
fn a_source_that_cannot_be_read_is_an_error_with_its_place() {
    struct Broken(Memory, u64);
    impl PayloadSource for Broken {
        fn length(&self) -> u64 {
            self.0.length()
        }
        fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
            if offset >= self.1 { Err(io::Error::other("bad sector")) } else { self.0.read_exact_at(buf, offset) }
        }
    }
    let bytes = usual();
    let place = Place::new();
    let broken = Broken(Memory(bytes.clone()), 7 * u64::from(SEGMENT));
    let error = place.encode_as(&broken, id_of(&bytes), &options(3), &|_| {}, &|| false).unwrap_err();
    assert!(matches!(error, EncodeError::ReadSource { offset, .. } if offset == 7 * u64::from(SEGMENT)), "{error:?}");
    place.encode(&bytes, &options(1)).unwrap();

    let short = PayloadId { length: bytes.len() as u64 + 1, ..id_of(&bytes) };
    let error = place.encode_as(&Memory(bytes), short, &options(1), &|_| {}, &|| false).unwrap_err();
    assert!(matches!(error, EncodeError::SourceLength { .. }));
}

#[test]
fn an_artifact_that_is_there_already_is_checked_and_kept() {
    let bytes = usual();
    let place = Place::new();
    let expected = place.encode(&bytes, &options(2)).unwrap();
    let untouched = std::fs::metadata(place.out()).unwrap().modified().unwrap();
    assert_eq!(place.encode(&bytes, &options(1)).unwrap(), expected);
    assert_eq!(std::fs::metadata(place.out()).unwrap().modified().unwrap(), untouched);
    assert!(std::fs::read_dir(place.work()).unwrap().next().is_none());
}

#[test]
fn a_damaged_or_other_file_in_its_place_is_replaced() {
    let bytes = usual();
    let place = Place::new();
    let expected = place.encode(&bytes, &options(2)).unwrap();
    let whole = place.artifact();
    let mut noise = Noise::new(3);
    for _ in 0..12 {
        flip(&place.out(), noise.below(expected.length), 3);
        assert_eq!(place.encode(&bytes, &options(2)).unwrap(), expected);
        assert!(place.artifact() == whole);
    }
    File::options().write(true).open(place.out()).unwrap().set_len(expected.length - 1).unwrap();
    assert_eq!(place.encode(&bytes, &options(2)).unwrap(), expected);
    let other = place.encode(&payload(9, 100_000), &options(2)).unwrap();
    assert_ne!(other, expected);
    assert_eq!(place.encode(&bytes, &options(2)).unwrap(), expected);
}

#[test]
fn a_second_encoder_in_the_same_folder_is_refused() {
    let bytes = usual();
    let place = Place::new();
    let second = Mutex::new(None);
    let meanwhile = |_| {
        second.lock().unwrap().get_or_insert_with(|| place.encode(&bytes, &options(1)).unwrap_err());
    };
    place.encode_as(&Memory(bytes.clone()), id_of(&bytes), &options(2), &meanwhile, &|| false).unwrap();
    let second = second.into_inner().unwrap().unwrap();
    assert!(matches!(second, EncodeError::Journal(JournalError::Busy { .. })), "{second:?}");
}

#[test]
fn impossible_options_are_refused_before_anything_is_made() {
    let bytes = payload(1, 1000);
    let place = Place::new();
    let bad = [
        EncodeOptions { level: 0, ..options(1) },
        EncodeOptions { level: 23, ..options(1) },
        EncodeOptions { workers: 0, ..options(1) },
        EncodeOptions { workers: 257, ..options(1) },
        EncodeOptions { segment_size: SEGMENT / 2, ..options(1) },
        EncodeOptions { segment_size: SEGMENT + 1, ..options(1) },
        EncodeOptions { segment_size: 32 << 20, ..options(1) },
    ];
    for options in bad {
        assert!(place.encode(&bytes, &options).is_err(), "{options:?}");
    }
    assert!(!place.work().exists() && !place.out().exists());
}

#[test]
fn a_folder_that_is_not_there_is_named_in_the_error() {
    let place = Place::new();
    let bytes = payload(1, 1000);
    let out = place.0.path().join("nowhere/artifact");
    let source = Memory(bytes.clone());
    for _ in 0..2 {
        let error =
            artifact::encode(&source, id_of(&bytes), &place.work(), &out, &options(1), &|_| {}, &|| false).unwrap_err();
        assert!(matches!(&error, EncodeError::Out { path, .. } if *path == out), "{error:?}");
    }
    std::fs::create_dir(out.parent().unwrap()).unwrap();
    artifact::encode(&source, id_of(&bytes), &place.work(), &out, &options(1), &|_| {}, &|| false).unwrap();
}
