//! Logs that QEMU does not write: FUA, marks and flushes with data, as Linux has them; and ones made to do harm.

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;

use logwrites::{Kind, Log, LogError, Tail, replay};

const IMAGE: u64 = 64 * 512;
const FLUSH: u64 = 1;
const FUA: u64 = 2;
const DISCARD: u64 = 4;
const MARK: u64 = 8;

struct Forged {
    dir: tempfile::TempDir,
    bytes: Vec<u8>,
}

impl Forged {
    fn new(counted: u64, sector: u32) -> Self {
        let mut bytes = [0x006a_7366_7773_6872_u64, 1, counted].map(u64::to_le_bytes).concat();
        bytes.extend(sector.to_le_bytes());
        bytes.resize(512, 0);
        Self { dir: tempfile::tempdir().unwrap(), bytes }
    }

    fn entry(mut self, sector: u64, count: u64, flags: u64, data: &[u8]) -> Self {
        let begin = self.bytes.len();
        self.bytes.extend([sector, count, flags, 0].map(u64::to_le_bytes).concat());
        self.bytes.resize(begin + 512, 0);
        self.bytes.extend(data);
        self
    }

    fn write(self, sector: u64, flags: u64, byte: u8) -> Self {
        self.entry(sector, 1, flags, &[byte; 512])
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn open(&self) -> Result<Log, LogError> {
        File::create(self.path("log")).unwrap().write_all(&self.bytes).unwrap();
        Log::open(&self.path("log"), IMAGE)
    }

    /// The first byte of each of the first sectors, after a cut behind the flush with this number.
    fn cut(&self, point: usize, tail: Tail) -> Vec<u8> {
        let log = self.open().unwrap();
        File::create(self.path("base")).unwrap().set_len(IMAGE).unwrap();
        let points = log.flush_points().unwrap();
        replay(&self.path("base"), &log, &points[point], tail, &self.path("image")).unwrap();
        std::fs::read(self.path("image")).unwrap().chunks(512).take(6).map(|s| s[0]).collect()
    }
}

#[test]
fn what_is_durable_by_itself_is_there_without_a_flush() {
    let forged = Forged::new(6, 512)
        .write(0, 0, 1)
        .entry(0, 0, MARK, &[])
        .write(1, FLUSH, 2)
        .write(2, FUA, 3)
        .write(3, 0, 4)
        .entry(0, 1, DISCARD, &[]);
    assert_eq!(forged.cut(0, Tail::Nothing), [0, 0, 0, 0, 0, 0]);
    assert_eq!(forged.cut(0, Tail::Everything), [1, 0, 0, 0, 0, 0]);
    // The flush is before its own data.
    assert_eq!(forged.cut(1, Tail::Nothing), [1, 0, 3, 0, 0, 0]);
    assert_eq!(forged.cut(1, Tail::Everything), [1, 2, 3, 4, 0, 0]);
    let log = forged.open().unwrap();
    let kinds: Vec<_> = log.entries().map(|e| e.unwrap().kind).collect();
    assert_eq!(kinds, [Kind::Write, Kind::Mark, Kind::Write, Kind::Write, Kind::Write, Kind::Discard]);
}

/// Whether the power goes before or after it: a durable write is lost only with everything after it.
#[test]
fn a_cut_has_a_moment() {
    let forged = Forged::new(6, 512)
        .entry(0, 0, FLUSH, &[])
        .write(0, 0, 1)
        .write(1, FUA, 2)
        .write(2, 0, 3)
        .write(3, FUA, 4)
        .write(4, 0, 5);
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..400 {
        let there = forged.cut(1, Tail::Seeded(seed));
        assert!(there[3] == 0 || there[1] == 2, "{there:?}: the later durable write without the earlier");
        assert!(there[2] == 0 || there[1] == 2, "{there:?}: a write without the durable one before it");
        assert!(there[4] == 0 || there[3] == 4, "{there:?}");
        seen.insert(there);
    }
    // 3 before the first durable write is made, 4 between, 8 after: 2 + 4 + 8.
    assert_eq!(seen.len(), 14, "every outcome, and no other: {seen:?}");
}

#[test]
fn garbage_is_refused() {
    let said = |forged: &Forged| forged.open().unwrap_err().to_string();
    assert!(said(&Forged { bytes: Vec::new(), ..Forged::new(0, 512) }).contains("too short"));
    assert!(said(&Forged { bytes: vec![0; 4096], ..Forged::new(0, 512) }).contains("magic"));
    for sector in [0, 1, 256, 513, 131_072, u32::MAX] {
        assert!(said(&Forged::new(0, sector)).contains("sectors"), "{sector}");
    }
    let entries: [(u64, u64, u64); 7] = [
        (64, 1, 0),
        (63, 2, 0),
        (u64::MAX, 1, 0),
        (0, u64::MAX, 0),
        (1 << 55, 1 << 55, 0),
        (0, 65, DISCARD),
        (0, 1, 64),
    ];
    for (sector, count, flags) in entries {
        let forged = |counted| {
            Forged::new(counted, 512).write(0, 0, 1).entry(0, 0, FLUSH, &[]).entry(sector, count, flags, &[7; 512])
        };
        let error = forged(3).open().unwrap().flush_points().unwrap_err();
        assert!(matches!(error, LogError::Entry { index: 2, .. }), "{error}");
        // Not counted, it is where the log ends.
        assert_eq!(forged(2).open().unwrap().entries().count(), 2);
    }
    let counts_too_many = Forged::new(u64::MAX, 512).write(0, 0, 1).open().unwrap();
    counts_too_many.flush_points().unwrap_err();
    let data_missing = Forged::new(1, 512).entry(0, 8, 0, &[1; 512]).open().unwrap();
    assert!(data_missing.flush_points().unwrap_err().to_string().contains("is not usable"));
}
