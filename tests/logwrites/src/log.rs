//! The log: a super block of one sector, then entries of one sector each, a write's followed by its data. All numbers are
//! little-endian, all sectors of the size that the super block says.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

const MAGIC: u64 = 0x006a_7366_7773_6872;
const VERSION: u64 = 1;
const FLUSH: u64 = 1;
const FUA: u64 = 2;
const DISCARD: u64 = 4;
const MARK: u64 = 8;
/// Linux marks a file system's metadata so; it changes nothing here.
const METADATA: u64 = 16;
const FLAGS: u64 = FLUSH | FUA | DISCARD | MARK | METADATA;

/// The smallest part of a write that a disk keeps or loses as a whole, in bytes.
pub const SECTOR: u64 = 512;

/// Bytes of an entry's numbers; the rest of its sector is zero, or a mark's text.
const HEADER: usize = 32;
/// Sizes of a sector that are read, in bytes.
const SECTOR_SIZES: std::ops::RangeInclusive<u64> = 512..=65_536;

/// Most entries of a log that is read.
pub const MAX_ENTRIES: u64 = 16_000_000;

/// Most flush points that are listed.
pub const MAX_POINTS: usize = 1_000_000;

/// Why a log cannot be read or replayed.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// A file.
    #[error("{what} {path}: check that it is there, whole and not too large for its file system")]
    File {
        /// What was tried.
        what: &'static str,
        /// With which file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Not a log, or one without a flush: QEMU writes the super block at the first one.
    #[error("{path} is not a log of blklogwrites, or nothing in it was flushed: {what}")]
    NoLog {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// An entry that the super block counts is not one.
    #[error(
        "entry {index} of {path} is not usable: {what}; the log and the image do not belong together, or it is damaged"
    )]
    Entry {
        /// The file.
        path: PathBuf,
        /// Which, from 0.
        index: u64,
        /// What is wrong.
        what: String,
    },
    /// More than a log may have.
    #[error("{path} has more than {most} {what}: record a shorter run")]
    TooMany {
        /// The file.
        path: PathBuf,
        /// Of what.
        what: &'static str,
        /// The bound.
        most: u64,
    },
    /// A flush point of another log.
    #[error("the flush point at entry {0} is not one of this log: take one that Log::flush_points lists")]
    NoPoint(u64),
}

/// What an entry is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Data, which lies in the log at `data`; none if `length` is 0, as for a flush alone.
    Write,
    /// The range is not needed any more.
    Discard,
    /// A text mark in the log.
    Mark,
}

/// One entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// Which, from 0.
    pub index: u64,
    /// What it is about.
    pub kind: Kind,
    /// Before it, everything earlier was made durable.
    pub flush: bool,
    /// It is durable itself.
    pub fua: bool,
    /// Where on the image, in bytes.
    pub offset: u64,
    /// How much, in bytes.
    pub length: u64,
    /// Where its data lies in the log, in bytes.
    pub data: u64,
}

impl Entry {
    /// Where the next entry lies in the log.
    const fn end(&self) -> Option<u64> {
        match self.kind {
            Kind::Write => self.data.checked_add(self.length),
            Kind::Discard | Kind::Mark => Some(self.data),
        }
    }

    /// Whether it changes the image.
    pub const fn changes(&self) -> bool {
        self.length > 0 && !matches!(self.kind, Kind::Mark)
    }
}

/// A moment at which everything before was durable: right after a flush, or the beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FlushPoint {
    /// The entry that flushes; of the beginning, 0.
    pub entry: u64,
    /// Writes and discards before it.
    pub writes: u64,
    /// Bytes that these wrote.
    pub bytes: u64,
    /// Where that entry lies in the log, in bytes.
    pub(crate) at: u64,
}

/// A log, checked against the length of the image that it is about.
///
/// Read as a stream: it may be larger than memory.
#[derive(Debug)]
pub struct Log {
    pub(crate) file: File,
    pub(crate) path: PathBuf,
    sector: u64,
    counted: u64,
    length: u64,
    image: u64,
}

impl Log {
    /// Opens the log of an image of `image` bytes.
    ///
    /// # Errors
    /// It cannot be read, or is not a log.
    pub fn open(path: &Path, image: u64) -> Result<Self, LogError> {
        let failed = |source| LogError::File { what: "cannot read the log", path: path.to_owned(), source };
        let no_log = |what: &str| LogError::NoLog { path: path.to_owned(), what: what.to_owned() };
        let file = File::open(path).map_err(failed)?;
        let length = file.metadata().map_err(failed)?.len();
        let mut head = [0; 28];
        if length < *SECTOR_SIZES.start() {
            return Err(no_log("it is too short"));
        }
        file.read_exact_at(&mut head, 0).map_err(failed)?;
        if number(&head, 0) != MAGIC {
            return Err(no_log("it does not begin with the magic number"));
        }
        if number(&head, 8) != VERSION {
            return Err(no_log(&format!("it has version {}, and {VERSION} is read", number(&head, 8))));
        }
        let sector = u64::from(u32::from_le_bytes([head[24], head[25], head[26], head[27]]));
        if !sector.is_power_of_two() || !SECTOR_SIZES.contains(&sector) {
            return Err(no_log(&format!("its sectors have {sector} bytes; 512 to 65536 are read")));
        }
        Ok(Self { file, path: path.to_owned(), sector, counted: number(&head, 16), length, image })
    }

    /// Entries that the super block counts.
    ///
    /// QEMU brings it up to date at a flush and now and then; after a kill there may be more, which are read as well
    /// as far as they are whole: a write only if another entry follows, because the data of the last one may have
    /// come in part. (Where many writes are made at once this may be so of more than one: a recording that ends with
    /// `quit` has no such doubt, and the replay makes the cuts.)
    pub const fn counted(&self) -> u64 {
        self.counted
    }

    /// Bytes of the image that the log is about.
    pub const fn image(&self) -> u64 {
        self.image
    }

    /// All entries in their order.
    pub fn entries(&self) -> Entries<'_> {
        self.entries_from(0, self.sector)
    }

    pub(crate) fn entries_from(&self, index: u64, at: u64) -> Entries<'_> {
        Entries { log: self, index, at, sector: vec![0; usize::try_from(self.sector).unwrap_or(0)], ended: false }
    }

    /// The beginning.
    pub const fn beginning(&self) -> FlushPoint {
        FlushPoint { entry: 0, writes: 0, bytes: 0, at: self.sector }
    }

    /// Every moment from which a cut can be replayed: the beginning, and each flush.
    ///
    /// # Errors
    /// The log cannot be read to its end, or there are more than [`MAX_POINTS`].
    pub fn flush_points(&self) -> Result<Vec<FlushPoint>, LogError> {
        let mut point = self.beginning();
        let mut points = vec![point];
        let mut entries = self.entries();
        loop {
            let at = entries.at;
            let Some(entry) = entries.next().transpose()? else { return Ok(points) };
            if entry.flush {
                if points.len() == MAX_POINTS {
                    let (path, most) = (self.path.clone(), MAX_POINTS as u64);
                    return Err(LogError::TooMany { path, what: "flushes", most });
                }
                (point.entry, point.at) = (entry.index, at);
                points.push(point);
            }
            if entry.changes() {
                point.writes += 1;
                point.bytes = point.bytes.saturating_add(entry.length);
            }
        }
    }

    /// Takes an entry's sector apart; its data is not looked at.
    ///
    /// What is wrong is said, and an end is `None`.
    fn parse(&self, index: u64, at: u64, sector: &[u8]) -> Result<Option<Entry>, String> {
        let [place, count, flags, text] = [0, 8, 16, 24].map(|from| number(sector, from));
        if [place, count, flags, text] == [0; 4] {
            return Ok(None);
        }
        if flags & !FLAGS != 0 {
            return Err(format!("it has the flags {flags:#x}"));
        }
        let mark = flags & MARK != 0;
        if !mark && sector[HEADER..].iter().any(|b| *b != 0) {
            return Err("it is not filled with zeros".into());
        }
        let kind = match (mark, flags & DISCARD != 0) {
            (true, _) => Kind::Mark,
            (false, true) => Kind::Discard,
            (false, false) => Kind::Write,
        };
        let bytes = |sectors: u64| sectors.checked_mul(self.sector);
        let range = bytes(place).zip(bytes(if mark { 0 } else { count }));
        let range = range.filter(|(offset, length)| offset.checked_add(*length).is_some_and(|end| end <= self.image));
        let Some((offset, length)) = range else {
            return Err(format!(
                "its sectors {place} and {count} more lie outside of an image of {} bytes",
                self.image
            ));
        };
        let data = at + self.sector;
        Ok(Some(Entry { index, kind, flush: flags & FLUSH != 0, fua: flags & FUA != 0, offset, length, data }))
    }
}

fn number(bytes: &[u8], from: usize) -> u64 {
    let mut eight = [0; 8];
    eight.copy_from_slice(&bytes[from..from + 8]);
    u64::from_le_bytes(eight)
}

/// The entries of a log, one after the other.
///
/// Ends at the end, or at the first that is not whole, if the super block does not count that.
#[derive(Debug)]
pub struct Entries<'a> {
    log: &'a Log,
    index: u64,
    at: u64,
    sector: Vec<u8>,
    ended: bool,
}

impl Entries<'_> {
    fn read(&mut self) -> Result<Option<Entry>, LogError> {
        let log = self.log;
        let counted = self.index < log.counted;
        if self.index >= MAX_ENTRIES {
            return Err(LogError::TooMany { path: log.path.clone(), what: "entries", most: MAX_ENTRIES });
        }
        let bad = |what: String| LogError::Entry { path: log.path.clone(), index: self.index, what };
        if self.at.checked_add(log.sector).is_none_or(|end| end > log.length) {
            return if counted { Err(bad("the log ends before it".into())) } else { Ok(None) };
        }
        let failed = |source| LogError::File { what: "cannot read the log", path: log.path.clone(), source };
        log.file.read_exact_at(&mut self.sector, self.at).map_err(failed)?;
        let whole = |entry: Entry| match entry.end().is_some_and(|end| end <= log.length) {
            true => Ok(Some(entry)),
            false => Err("the log ends within its data".to_owned()),
        };
        let parsed = log.parse(self.index, self.at, &self.sector);
        let entry = match parsed.and_then(|entry| entry.map_or(Ok(None), whole)) {
            Ok(Some(entry)) => entry,
            Ok(None) if counted => return Err(bad("it is empty".into())),
            Err(what) if counted => return Err(bad(what)),
            Ok(None) | Err(_) => return Ok(None),
        };
        let next = entry.end().unwrap_or(entry.data);
        if !counted && next > entry.data && !self.is_entry(next)? {
            return Ok(None);
        }
        self.index += 1;
        self.at = next;
        Ok(Some(entry))
    }

    /// Whether another entry begins there.
    fn is_entry(&self, at: u64) -> Result<bool, LogError> {
        let log = self.log;
        if at.checked_add(log.sector).is_none_or(|end| end > log.length) {
            return Ok(false);
        }
        let mut sector = vec![0; self.sector.len()];
        let failed = |source| LogError::File { what: "cannot read the log", path: log.path.clone(), source };
        log.file.read_exact_at(&mut sector, at).map_err(failed)?;
        Ok(matches!(log.parse(self.index + 1, at, &sector), Ok(Some(_))))
    }
}

impl Iterator for Entries<'_> {
    type Item = Result<Entry, LogError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let read = self.read().transpose();
        self.ended = !matches!(read, Some(Ok(_)));
        read
    }
}
