//! Segments to real files: any order, over an older image, continued, and read back.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::samples::{Noise, SEGMENT, Sample, flip, payload};
use artifact::{
    Applier, ApplyError, DeviceTooSmall, FileDisk, FileDiskError, ImageDisk, Index, JournalError, PastEnd,
    ReadBackError, Rechecked, SegmentError, read_back,
};

fn sample() -> Sample {
    let sample = Sample::new(payload(21, 15 * SEGMENT as usize + 999));
    assert!(sample.index.segments().iter().any(|segment| segment.is_zero()), "zeros have to be among them");
    sample
}

/// A slot that holds an older image, and a journal's path.
struct Slot {
    folder: tempfile::TempDir,
    length: u64,
}

impl Slot {
    fn new(length: u64) -> Self {
        let slot = Self { folder: tempfile::tempdir().unwrap(), length };
        let mut old = vec![0; length as usize];
        Noise::new(77).fill(&mut old);
        std::io::Write::write_all(&mut File::create(slot.path()).unwrap(), &old).unwrap();
        slot
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("slot")
    }

    fn journal(&self) -> PathBuf {
        self.folder.path().join("journal")
    }

    fn disk(&self) -> FileDisk {
        FileDisk::open(&self.path()).unwrap()
    }

    fn applier(&self, index: &Arc<Index>) -> Applier {
        Applier::open(Arc::clone(index), &self.journal()).unwrap()
    }
}

fn apply_all(applier: &mut Applier, disk: &mut dyn ImageDisk, sample: &Sample) {
    let missing: Vec<u64> = applier.missing().map(|segment| segment.number).collect();
    for number in missing.into_iter().rev() {
        applier.apply(disk, number, sample.frame(number)).unwrap();
    }
    applier.checkpoint(disk).unwrap();
}

fn mismatched(disk: &mut dyn ImageDisk, sample: &Sample) -> bool {
    match read_back(disk, &sample.id(), &mut |_| {}) {
        Ok(()) => false,
        Err(ReadBackError::Mismatch { expected, found }) => {
            assert!(expected == sample.id().sha256 && found != expected);
            true
        }
        Err(other) => panic!("{other:?}"),
    }
}

#[test]
fn in_any_order_over_an_older_image_it_becomes_the_payload() {
    let sample = sample();
    let slot = Slot::new(sample.id().length + 12_345);
    let behind = std::fs::read(slot.path()).unwrap()[sample.payload.len()..].to_vec();
    let (mut disk, mut applier) = (slot.disk(), slot.applier(&sample.index));
    assert!(mismatched(&mut disk, &sample));
    let mut order: Vec<u64> = (0..applier.total()).collect();
    let mut noise = Noise::new(5);
    for left in (1..order.len()).rev() {
        order.swap(left, noise.below(left as u64 + 1) as usize);
    }
    for number in order {
        assert!(!applier.is_complete());
        if sample.index.segment(number).unwrap().is_zero() {
            applier.apply_zero(&mut disk, number).unwrap();
        } else {
            applier.apply(&mut disk, number, sample.frame(number)).unwrap();
        }
    }
    assert_eq!((applier.done(), applier.pending()), (applier.total(), applier.total()));
    assert_eq!(applier.done_bytes(), sample.id().length);
    assert!(!applier.is_complete(), "nothing is complete before it is checkpointed");
    applier.checkpoint(&mut disk).unwrap();
    assert!(applier.is_complete() && applier.pending() == 0);
    let mut seen = Vec::new();
    read_back(&mut disk, &sample.id(), &mut |read| seen.push(read)).unwrap();
    assert!(seen.is_sorted() && seen.last() == Some(&sample.id().length));
    let after = std::fs::read(slot.path()).unwrap();
    assert_eq!(after.len() as u64, slot.length, "a slot does not change its length");
    assert!(after[..sample.payload.len()] == sample.payload && after[sample.payload.len()..] == behind);
}

#[test]
fn what_was_checkpointed_is_not_asked_for_again() {
    let sample = sample();
    let slot = Slot::new(sample.id().length);
    let mut disk = slot.disk();
    let mut applier = slot.applier(&sample.index);
    for number in [3, 0, 7] {
        applier.apply(&mut disk, number, sample.frame(number)).unwrap();
    }
    applier.checkpoint(&mut disk).unwrap();
    applier.apply(&mut disk, 5, sample.frame(5)).unwrap();
    drop(applier);
    let mut applier = slot.applier(&sample.index);
    assert_eq!(applier.done(), 3);
    let missing: Vec<u64> = applier.missing().map(|segment| segment.number).collect();
    assert_eq!(missing, [1, 2, 4, 5, 6, 8, 9, 10, 11, 12, 13, 14, 15]);
    apply_all(&mut applier, &mut disk, &sample);
    assert!(!mismatched(&mut disk, &sample));
    drop(applier);
    assert!(slot.applier(&sample.index).is_complete());
}

#[test]
fn a_torn_tail_costs_one_segment_and_another_artifacts_journal_everything() {
    let sample = sample();
    let slot = Slot::new(sample.id().length);
    let mut disk = slot.disk();
    let mut applier = slot.applier(&sample.index);
    apply_all(&mut applier, &mut disk, &sample);
    drop(applier);
    let journal = File::options().write(true).open(slot.journal()).unwrap();
    journal.set_len(journal.metadata().unwrap().len() - 1).unwrap();
    assert_eq!(slot.applier(&sample.index).missing().count(), 1);

    let other = Sample::new(payload(22, 3 * SEGMENT as usize));
    assert_eq!(slot.applier(&other.index).done(), 0);
    assert_eq!(slot.applier(&sample.index).done(), 0, "what was discarded does not come back");
}

#[test]
fn one_journal_is_for_one_process() {
    let sample = sample();
    let slot = Slot::new(sample.id().length);
    let _first = slot.applier(&sample.index);
    let second = Applier::open(Arc::clone(&sample.index), &slot.journal());
    assert!(matches!(second, Err(ApplyError::Journal(JournalError::Busy { .. }))));
}

#[test]
fn a_wrong_frame_is_not_written() {
    let sample = sample();
    let slot = Slot::new(sample.id().length);
    let before = std::fs::read(slot.path()).unwrap();
    let (mut disk, mut applier) = (slot.disk(), slot.applier(&sample.index));
    for segment in sample.index.segments() {
        let mut frame = sample.frame(segment.number).to_vec();
        match frame.last_mut() {
            Some(last) => *last ^= 1,
            None => frame.push(0),
        }
        let error = applier.apply(&mut disk, segment.number, &frame).unwrap_err();
        assert!(matches!(error, ApplyError::Segment(_)), "{error:?}");
        if !segment.is_zero() {
            let error = applier.apply_zero(&mut disk, segment.number).unwrap_err();
            assert!(matches!(error, ApplyError::NotZero(number) if number == segment.number));
        }
    }
    for number in [applier.total(), u64::MAX] {
        let unknown = applier.apply(&mut disk, number, &[]).unwrap_err();
        assert!(matches!(unknown, ApplyError::Segment(SegmentError::Unknown { .. })));
        assert!(applier.apply_zero(&mut disk, number).is_err() && applier.forget(number).is_err());
    }
    assert_eq!(applier.done(), 0);
    assert!(std::fs::read(slot.path()).unwrap() == before);
}

#[test]
fn a_flipped_bit_is_found_by_reading_back_placed_by_rechecking_and_repaired() {
    let sample = sample();
    let slot = Slot::new(sample.id().length);
    let (mut disk, mut applier) = (slot.disk(), slot.applier(&sample.index));
    apply_all(&mut applier, &mut disk, &sample);
    let zero = sample.index.segments().iter().find(|segment| segment.is_zero()).unwrap();
    for (at, segment) in [(zero.payload_offset + 9, zero.number), (sample.id().length - 1, 15)] {
        flip(&slot.path(), at, 4);
        assert!(mismatched(&mut disk, &sample));
        let found = applier.recheck(&mut disk, &mut |_| {}).unwrap();
        assert_eq!(found, Rechecked { good: 15, bad: 1 });
        drop(applier);
        applier = slot.applier(&sample.index);
        let missing: Vec<u64> = applier.missing().map(|segment| segment.number).collect();
        assert_eq!(missing, [segment], "forgotten durably");
        apply_all(&mut applier, &mut disk, &sample);
        assert!(!mismatched(&mut disk, &sample));
    }
}

#[test]
fn a_lost_journal_is_made_again_by_hashing_the_slot() {
    let sample = sample();
    let slot = Slot::new(sample.id().length);
    let (mut disk, mut applier) = (slot.disk(), slot.applier(&sample.index));
    apply_all(&mut applier, &mut disk, &sample);
    drop(applier);
    std::fs::remove_file(slot.journal()).unwrap();
    flip(&slot.path(), 3 * u64::from(SEGMENT), 0);
    let mut applier = slot.applier(&sample.index);
    assert_eq!(applier.done(), 0);
    applier.recheck(&mut disk, &mut |_| {}).unwrap();
    assert_eq!((applier.done(), applier.pending()), (15, 15));
    applier.checkpoint(&mut disk).unwrap();
    drop(applier);
    assert_eq!(slot.applier(&sample.index).done(), 15);
}

#[test]
fn a_segment_that_is_there_is_not_touched_until_it_is_forgotten() {
    let sample = sample();
    let slot = Slot::new(sample.id().length);
    let (mut disk, mut applier) = (slot.disk(), slot.applier(&sample.index));
    apply_all(&mut applier, &mut disk, &sample);
    flip(&slot.path(), 0, 0);
    applier.apply(&mut disk, 0, sample.frame(0)).unwrap();
    assert!(mismatched(&mut disk, &sample), "applying again must not have written");
    applier.forget(0).unwrap();
    assert_eq!(applier.missing().map(|segment| segment.number).collect::<Vec<_>>(), [0]);
    applier.apply(&mut disk, 0, sample.frame(0)).unwrap();
    assert!(!mismatched(&mut disk, &sample));
}

#[test]
fn a_journal_that_grew_out_of_bounds_is_begun_again() {
    let sample = sample();
    let slot = Slot::new(sample.id().length);
    let (mut disk, mut applier) = (slot.disk(), slot.applier(&sample.index));
    for _ in 0..100 {
        applier.apply(&mut disk, 1, sample.frame(1)).unwrap();
        applier.checkpoint(&mut disk).unwrap();
        applier.forget(1).unwrap();
    }
    drop(applier);
    assert_eq!(slot.applier(&sample.index).done(), 0);
    assert!(std::fs::metadata(slot.journal()).unwrap().len() < 100);
}

#[test]
fn a_device_smaller_than_the_image_has_its_own_error() {
    let sample = sample();
    let needed = sample.id().length;
    let slot = Slot::new(needed - 1);
    let before = std::fs::read(slot.path()).unwrap();
    let (mut disk, mut applier) = (slot.disk(), slot.applier(&sample.index));
    let too_small = DeviceTooSmall { needed, available: needed - 1 };
    let error = applier.apply(&mut disk, 0, sample.frame(0)).unwrap_err();
    assert!(error.to_string().contains("smaller than the image"), "{error}");
    assert!(matches!(error, ApplyError::DeviceTooSmall(found) if found == too_small));
    let error = read_back(&mut disk, &sample.id(), &mut |_| {}).unwrap_err();
    assert!(matches!(error, ReadBackError::DeviceTooSmall(found) if found == too_small));
    assert!(matches!(applier.recheck(&mut disk, &mut |_| {}), Err(ApplyError::DeviceTooSmall(_))));
    assert!(std::fs::read(slot.path()).unwrap() == before);
}

#[test]
fn a_file_disk_never_goes_past_its_end() {
    let slot = Slot::new(1000);
    let before = std::fs::read(slot.path()).unwrap();
    let mut disk = slot.disk();
    assert_eq!(disk.length().unwrap(), 1000);
    for offset in [991, 1000, 5000, u64::MAX - 3, u64::MAX] {
        for error in [disk.write_at(offset, &[0; 10]).unwrap_err(), disk.read_at(offset, &mut [0; 10]).unwrap_err()] {
            let past = error.get_ref().and_then(|inner| inner.downcast_ref::<PastEnd>()).unwrap();
            assert_eq!((past.offset, past.length), (offset, 1000));
        }
    }
    assert!(std::fs::read(slot.path()).unwrap() == before);
    disk.write_at(990, &[1; 10]).unwrap();
    disk.drop_caches().unwrap();
    let mut back = [0; 10];
    disk.read_at(990, &mut back).unwrap();
    assert_eq!(back, [1; 10]);
}

#[test]
fn only_files_and_block_devices_are_disks() {
    let folder = tempfile::tempdir().unwrap();
    for path in [folder.path(), Path::new("/dev/null")] {
        assert!(matches!(FileDisk::open(path), Err(FileDiskError::Kind { .. })));
    }
    let absent = folder.path().join("absent");
    let error = FileDisk::open(&absent).unwrap_err();
    assert!(matches!(&error, FileDiskError::Open { path, .. } if *path == absent));
    assert!(!absent.exists(), "a slot that is not there is not made");
}
