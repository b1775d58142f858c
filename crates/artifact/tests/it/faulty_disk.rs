//! Disks that fail in the ways disks do: the journal never claims what the medium has lost, and no failure is silent.

use std::io;
use std::path::Path;
use std::sync::{Arc, LazyLock};

use crate::samples::{Noise, SEGMENT, Sample, payload};
use artifact::{Applier, ApplyError, ImageDisk, ReadBackError, read_back};
use proptest::prelude::*;

fn sample() -> &'static Sample {
    static SAMPLE: LazyLock<Sample> = LazyLock::new(|| Sample::new(payload(31, 11 * SEGMENT as usize + 77)));
    &SAMPLE
}

/// What the next access does.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Fault {
    None,
    /// Some of the bytes, then an error.
    PartialWrite,
    /// As a device without space: nothing, and an error.
    Full,
    /// The sync fails and the kernel has dropped what it could not write; later syncs succeed.
    Sync,
    /// The write reports success and the medium keeps another bit.
    Flip,
    /// Everything fails from now on.
    Yanked,
}

/// A disk with a cache that a power cut loses in part, and faults on request.
struct FaultyDisk {
    medium: Vec<u8>,
    cache: Vec<(u64, Vec<u8>)>,
    fault: Fault,
    noise: Noise,
}

impl FaultyDisk {
    fn new(length: u64) -> Self {
        let mut medium = vec![0; length as usize];
        Noise::new(1).fill(&mut medium);
        Self { medium, cache: Vec::new(), fault: Fault::None, noise: Noise::new(2) }
    }

    fn put(medium: &mut [u8], offset: u64, bytes: &[u8]) {
        medium[offset as usize..][..bytes.len()].copy_from_slice(bytes);
    }

    /// The power goes: of what was not synced, any sectors arrived and any others did not.
    fn cut_power(&mut self, seed: u64) {
        let mut noise = Noise::new(seed);
        for (offset, bytes) in std::mem::take(&mut self.cache) {
            for (sector, bytes) in (0..).zip(bytes.chunks(512)) {
                if noise.below(2) == 0 {
                    Self::put(&mut self.medium, offset + 512 * sector, bytes);
                }
            }
        }
    }

    fn yanked(&self) -> io::Result<()> {
        if self.fault == Fault::Yanked { Err(io::Error::other("no such device")) } else { Ok(()) }
    }
}

impl ImageDisk for FaultyDisk {
    fn length(&mut self) -> io::Result<u64> {
        self.yanked()?;
        Ok(self.medium.len() as u64)
    }

    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.yanked()?;
        let mut bytes = bytes.to_vec();
        let at = self.noise.below(bytes.len() as u64) as usize;
        match std::mem::replace(&mut self.fault, Fault::None) {
            Fault::Full => return Err(io::ErrorKind::StorageFull.into()),
            Fault::PartialWrite => {
                bytes.truncate(at);
                self.cache.push((offset, bytes));
                return Err(io::ErrorKind::WriteZero.into());
            }
            Fault::Flip => bytes[at] ^= 1,
            other => self.fault = other,
        }
        self.cache.push((offset, bytes));
        Ok(())
    }

    fn read_at(&mut self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        self.yanked()?;
        let mut seen = self.medium.clone();
        for (offset, bytes) in &self.cache {
            Self::put(&mut seen, *offset, bytes);
        }
        buf.copy_from_slice(&seen[offset as usize..][..buf.len()]);
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        self.yanked()?;
        if self.fault == Fault::Sync {
            self.fault = Fault::None;
            self.cut_power(9);
            return Err(io::Error::other("lost page write"));
        }
        for (offset, bytes) in std::mem::take(&mut self.cache) {
            Self::put(&mut self.medium, offset, &bytes);
        }
        Ok(())
    }

    fn drop_caches(&mut self) -> io::Result<()> {
        self.sync()
    }
}

fn open(journal: &Path) -> Applier {
    Applier::open(Arc::clone(&sample().index), journal).unwrap()
}

/// Every segment that a fresh start believes to be there is there, on the medium itself.
fn assert_journal_is_true(applier: &Applier, disk: &FaultyDisk) {
    let missing: Vec<u64> = applier.missing().map(|segment| segment.number).collect();
    for segment in sample().index.segments().iter().filter(|segment| !missing.contains(&segment.number)) {
        let range =
            segment.payload_offset as usize..(segment.payload_offset as usize + segment.payload_length as usize);
        assert!(disk.medium[range.clone()] == sample().payload[range], "segment {} is not there", segment.number);
    }
}

fn apply_missing(applier: &mut Applier, disk: &mut FaultyDisk) {
    let missing: Vec<u64> = applier.missing().map(|segment| segment.number).collect();
    for number in missing {
        applier.apply(disk, number, sample().frame(number)).unwrap();
    }
    applier.checkpoint(disk).unwrap();
}

#[derive(Debug, Clone)]
enum Step {
    Apply(u64),
    Checkpoint,
    Forget(u64),
    CutPower(u64),
    Fail(Fault),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let fault = prop_oneof![Just(Fault::PartialWrite), Just(Fault::Full), Just(Fault::Sync)];
    let step = prop_oneof![
        6 => (0u64..12).prop_map(Step::Apply),
        2 => Just(Step::Checkpoint),
        1 => (0u64..12).prop_map(Step::Forget),
        1 => any::<u64>().prop_map(Step::CutPower),
        2 => fault.prop_map(Step::Fail),
    ];
    prop::collection::vec(step, 0..40)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn whatever_fails_the_journal_is_true_and_the_image_becomes_whole(steps in steps()) {
        let folder = tempfile::tempdir().unwrap();
        let journal = folder.path().join("journal");
        let mut disk = FaultyDisk::new(sample().id().length + 100);
        let mut applier = open(&journal);
        for step in steps {
            match step {
                // Errors are expected here; what counts is what is believed afterwards.
                Step::Apply(number) => drop(applier.apply(&mut disk, number, sample().frame(number))),
                Step::Checkpoint => drop(applier.checkpoint(&mut disk)),
                Step::Forget(number) => applier.forget(number).unwrap(),
                Step::CutPower(seed) => {
                    disk.cut_power(seed);
                    drop(applier);
                    applier = open(&journal);
                    assert_journal_is_true(&applier, &disk);
                }
                Step::Fail(fault) => disk.fault = fault,
            }
        }
        disk.fault = Fault::None;
        apply_missing(&mut applier, &mut disk);
        prop_assert!(applier.is_complete());
        read_back(&mut disk, &sample().id(), &mut |_| {}).unwrap();
        drop(applier);
        disk.cut_power(1);
        assert_journal_is_true(&open(&journal), &disk);
    }
}

struct Rig {
    _folder: tempfile::TempDir,
    disk: FaultyDisk,
    applier: Applier,
}

fn rig() -> Rig {
    let folder = tempfile::tempdir().unwrap();
    let applier = open(&folder.path().join("journal"));
    Rig { disk: FaultyDisk::new(sample().id().length), applier, _folder: folder }
}

#[test]
fn a_partial_write_and_a_full_device_are_errors_and_the_segment_stays_missing() {
    let mut rig = rig();
    for (fault, kind) in [(Fault::PartialWrite, io::ErrorKind::WriteZero), (Fault::Full, io::ErrorKind::StorageFull)] {
        rig.disk.fault = fault;
        let error = rig.applier.apply(&mut rig.disk, 4, sample().frame(4)).unwrap_err();
        let ApplyError::Write { number: 4, offset, source } = error else { panic!("{error:?}") };
        assert_eq!((offset, source.kind()), (4 * u64::from(SEGMENT), kind));
        assert_eq!(rig.applier.done(), 0);
        rig.applier.checkpoint(&mut rig.disk).unwrap();
        assert_eq!(rig.applier.done(), 0);
    }
    apply_missing(&mut rig.applier, &mut rig.disk);
    read_back(&mut rig.disk, &sample().id(), &mut |_| {}).unwrap();
}

#[test]
fn after_a_failed_sync_everything_since_the_last_one_is_missing_again() {
    let mut rig = rig();
    rig.applier.apply(&mut rig.disk, 0, sample().frame(0)).unwrap();
    rig.applier.checkpoint(&mut rig.disk).unwrap();
    for number in [1, 2, 3] {
        rig.applier.apply(&mut rig.disk, number, sample().frame(number)).unwrap();
    }
    rig.disk.fault = Fault::Sync;
    let error = rig.applier.checkpoint(&mut rig.disk).unwrap_err();
    assert!(matches!(error, ApplyError::Sync { lost: 3, .. }), "{error:?}");
    assert_eq!((rig.applier.done(), rig.applier.pending()), (1, 0));
    assert_journal_is_true(&rig.applier, &rig.disk);
}

#[test]
fn a_bit_that_the_medium_kept_wrong_is_found_by_reading_back_and_repaired() {
    for number in [2, 11] {
        let mut rig = rig();
        rig.disk.fault = Fault::Flip;
        rig.applier.apply(&mut rig.disk, number, sample().frame(number)).unwrap();
        apply_missing(&mut rig.applier, &mut rig.disk);
        assert!(rig.applier.is_complete());
        let error = read_back(&mut rig.disk, &sample().id(), &mut |_| {}).unwrap_err();
        assert!(matches!(error, ReadBackError::Mismatch { .. }), "{error:?}");
        assert_eq!(rig.applier.recheck(&mut rig.disk, &mut |_| {}).unwrap().bad, 1);
        assert_eq!(rig.applier.missing().map(|segment| segment.number).collect::<Vec<_>>(), [number]);
        apply_missing(&mut rig.applier, &mut rig.disk);
        read_back(&mut rig.disk, &sample().id(), &mut |_| {}).unwrap();
    }
}

#[test]
fn a_yanked_device_is_an_error_of_every_operation_and_never_a_mismatch() {
    let mut rig = rig();
    rig.applier.apply(&mut rig.disk, 0, sample().frame(0)).unwrap();
    rig.disk.fault = Fault::Yanked;
    let error = rig.applier.apply(&mut rig.disk, 1, sample().frame(1)).unwrap_err();
    assert!(matches!(error, ApplyError::Length(_)), "{error:?}");
    assert!(matches!(rig.applier.checkpoint(&mut rig.disk), Err(ApplyError::Sync { lost: 1, .. })));
    assert!(matches!(rig.applier.recheck(&mut rig.disk, &mut |_| {}), Err(ApplyError::Length(_))));
    let error = read_back(&mut rig.disk, &sample().id(), &mut |_| {}).unwrap_err();
    assert!(matches!(error, ReadBackError::Length(_)), "{error:?}");
    assert_eq!(rig.applier.done(), 0);
}

/// A device that goes away while it is read: each operation may be the first that notices.
#[test]
fn a_device_that_goes_away_while_it_is_read_back_is_not_a_wrong_image() {
    struct GoesAway(FaultyDisk, u32);
    impl GoesAway {
        fn step(&mut self) {
            self.1 = self.1.saturating_sub(1);
            if self.1 == 0 {
                self.0.fault = Fault::Yanked;
            }
        }
    }
    impl ImageDisk for GoesAway {
        fn length(&mut self) -> io::Result<u64> {
            self.step();
            self.0.length()
        }
        fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
            self.step();
            self.0.write_at(offset, bytes)
        }
        fn read_at(&mut self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
            self.step();
            self.0.read_at(offset, buf)
        }
        fn sync(&mut self) -> io::Result<()> {
            self.step();
            self.0.sync()
        }
        fn drop_caches(&mut self) -> io::Result<()> {
            self.step();
            self.0.drop_caches()
        }
    }
    let read = |after| {
        let mut disk = GoesAway(FaultyDisk::new(sample().id().length), after);
        read_back(&mut disk, &sample().id(), &mut |_| {}).unwrap_err()
    };
    assert!(matches!(read(1), ReadBackError::Length(_)));
    assert!(matches!(read(2), ReadBackError::DropCaches(_)));
    assert!(matches!(read(3), ReadBackError::Read { offset: 0, .. }));
    assert!(matches!(read(100), ReadBackError::Mismatch { .. }));
}
