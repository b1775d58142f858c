//! From the image before and the log to the image after a cut.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::choice::Choice;
use crate::log::{Entry, FlushPoint, Kind, Log, LogError, SECTOR};

/// How much is copied at once, in bytes.
const CHUNK: u64 = 1 << 20;

/// Of what came after the flush and before the next one, what the disk kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tail {
    /// Nothing but what is durable by itself: an empty cache.
    Nothing,
    /// Everything.
    Everything,
    /// What a seed chooses: the power goes at any of these writes.
    ///
    /// Of those before, each is kept or lost, or kept in some sectors only. A write that is durable by itself and was
    /// made before that moment is kept.
    Seeded(u64),
}

/// What was done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Applied {
    /// Writes and discards up to the flush.
    pub writes: u64,
    /// The entry that flushes.
    pub flush: u64,
    /// Writes after it that are there as a whole.
    pub kept: u64,
    /// Writes after it that are not.
    pub dropped: u64,
    /// Writes after it of which some sectors are there.
    pub torn: u64,
}

/// Makes `image`, a copy of `base` as it may be after a cut behind `point`.
///
/// Blocking. A discard changes nothing, as QEMU's files have it unless they are told to unmap.
///
/// # Errors
/// A file cannot be read or written, or the point is not of this log.
pub fn replay(base: &Path, log: &Log, point: &FlushPoint, tail: Tail, image: &Path) -> Result<Applied, LogError> {
    copy(base, image)?;
    advance(log, image, &log.beginning(), point)?;
    cut(log, image, point, tail)
}

/// Brings an image that holds everything up to `from` to `to`.
///
/// So a campaign keeps one image that follows the log, and copies that for every cut.
///
/// # Errors
/// As [`replay`].
pub fn advance(log: &Log, image: &Path, from: &FlushPoint, to: &FlushPoint) -> Result<(), LogError> {
    let file = open(log, image)?;
    for entry in log.entries_from(from.entry, from.at) {
        let entry = entry?;
        if entry.index >= to.entry {
            break;
        }
        put(log, &file, image, &entry, &mut |_| true)?;
    }
    check(log, to)
}

/// Applies to an image as of `point` what `tail` keeps before the next flush.
///
/// # Errors
/// As [`replay`].
pub fn cut(log: &Log, image: &Path, point: &FlushPoint, tail: Tail) -> Result<Applied, LogError> {
    check(log, point)?;
    let file = open(log, image)?;
    let mut choice = match tail {
        Tail::Seeded(seed) => Some(Chosen::new(seed, volatile(log, point).try_fold(0, |n, e| e.map(|_| n + 1))?)),
        Tail::Nothing | Tail::Everything => None,
    };
    let mut applied = Applied { writes: point.writes, flush: point.entry, ..Applied::default() };
    for entry in volatile(log, point) {
        let entry = entry?;
        let fate = match (&mut choice, tail) {
            (Some(choice), _) => choice.fate(&entry),
            (None, Tail::Everything) => Fate::Kept,
            (None, _) if entry.fua => Fate::Kept,
            (None, _) => Fate::Lost,
        };
        match fate {
            Fate::Lost => applied.dropped += 1,
            Fate::Kept => {
                put(log, &file, image, &entry, &mut |_| true)?;
                applied.kept += 1;
            }
            Fate::Torn(mut sectors) => {
                put(log, &file, image, &entry, &mut |n| sectors.keeps(n))?;
                applied.torn += 1;
            }
        }
    }
    Ok(applied)
}

/// What changes the image after a flush and before the next.
fn volatile<'a>(log: &'a Log, point: &FlushPoint) -> impl Iterator<Item = Result<Entry, LogError>> + use<'a> {
    let first = point.entry;
    let entries = log.entries_from(point.entry, point.at);
    let until = entries.take_while(move |e| !matches!(e, Ok(e) if e.flush && e.index != first));
    until.filter(|e| !matches!(e, Ok(e) if !e.changes()))
}

/// A point is a place in the log: one of another log would be read as garbage.
fn check(log: &Log, point: &FlushPoint) -> Result<(), LogError> {
    let begins = *point == log.beginning();
    match log.entries_from(point.entry, point.at).next().transpose() {
        Ok(Some(entry)) if entry.flush => Ok(()),
        Ok(_) if begins => Ok(()),
        _ => Err(LogError::NoPoint(point.entry)),
    }
}

enum Fate {
    Lost,
    Kept,
    Torn(Sectors),
}

/// What a seed chooses.
struct Chosen {
    choice: Choice,
    /// Writes before the power goes.
    made: u64,
    /// In how many of four cases a write is kept.
    keeps: u64,
}

impl Chosen {
    fn new(seed: u64, writes: u64) -> Self {
        let mut choice = Choice::new(seed);
        let (made, keeps) = (choice.below(writes + 1), choice.below(5));
        Self { choice, made, keeps }
    }

    fn fate(&mut self, entry: &Entry) -> Fate {
        if self.made == 0 {
            return Fate::Lost;
        }
        self.made -= 1;
        if entry.fua {
            return Fate::Kept;
        }
        let sectors = entry.length / SECTOR;
        if entry.kind == Kind::Write && sectors > 1 && self.choice.one_in(1, 4) {
            return Fate::Torn(Sectors::new(&mut self.choice, sectors));
        }
        if self.choice.one_in(self.keeps, 4) { Fate::Kept } else { Fate::Lost }
    }
}

/// Which sectors of a torn write are there: at least one is, and one is not.
struct Sectors {
    choice: Choice,
    kept: u64,
    lost: u64,
    /// All before this one, if it was cut off; otherwise each by itself.
    cut: Option<u64>,
}

impl Sectors {
    fn new(choice: &mut Choice, sectors: u64) -> Self {
        let kept = choice.below(sectors);
        let lost = (kept + 1 + choice.below(sectors - 1)) % sectors;
        let cut = choice.one_in(1, 2).then(|| 1 + choice.below(sectors - 1));
        Self { choice: Choice::new(choice.below(u64::MAX)), kept, lost, cut }
    }

    fn keeps(&mut self, sector: u64) -> bool {
        match self.cut {
            Some(cut) => sector < cut,
            None => sector == self.kept || (sector != self.lost && self.choice.one_in(1, 2)),
        }
    }
}

/// Puts an entry's data into the image, in those of its sectors that are kept.
fn put(
    log: &Log,
    image: &File,
    path: &Path,
    entry: &Entry,
    keeps: &mut dyn FnMut(u64) -> bool,
) -> Result<(), LogError> {
    if entry.kind != Kind::Write {
        return Ok(());
    }
    let unread = |source| LogError::File { what: "cannot read the log", path: log.path.clone(), source };
    let unwritten = |source| LogError::File { what: "cannot write the image", path: path.to_owned(), source };
    let mut buffer = vec![0; usize::try_from(CHUNK.min(entry.length)).unwrap_or(0)];
    let mut done = 0;
    while done < entry.length {
        let part = CHUNK.min(entry.length - done);
        let bytes = &mut buffer[..usize::try_from(part).unwrap_or(0)];
        log.file.read_exact_at(bytes, entry.data + done).map_err(unread)?;
        // Sectors that are kept and neighbours are written at once.
        let mut begin = None;
        for at in (0..part).step_by(SECTOR as usize) {
            let kept = keeps((done + at) / SECTOR);
            match (begin, kept) {
                (None, true) => begin = Some(at),
                (Some(from), false) => {
                    image
                        .write_all_at(&bytes[from as usize..at as usize], entry.offset + done + from)
                        .map_err(unwritten)?;
                    begin = None;
                }
                _ => {}
            }
        }
        if let Some(from) = begin {
            image.write_all_at(&bytes[from as usize..], entry.offset + done + from).map_err(unwritten)?;
        }
        done += part;
    }
    Ok(())
}

/// The image is written in place and is as long as the log was checked against.
fn open(log: &Log, image: &Path) -> Result<File, LogError> {
    let failed = |source| LogError::File { what: "cannot write the image", path: image.to_owned(), source };
    let file = File::options().read(true).write(true).open(image).map_err(failed)?;
    let length = file.metadata().map_err(failed)?.len();
    if length != log.image() {
        let text = format!("it has {length} bytes, and the log is of an image of {}", log.image());
        return Err(failed(io::Error::new(io::ErrorKind::InvalidInput, text)));
    }
    Ok(file)
}

/// Copies an image and leaves out its zeros: most of a disk is empty.
fn copy(base: &Path, image: &Path) -> Result<(), LogError> {
    let unread = |source| LogError::File { what: "cannot read the image", path: base.to_owned(), source };
    let unwritten = |source| LogError::File { what: "cannot write the image", path: image.to_owned(), source };
    let from = File::open(base).map_err(unread)?;
    let length = from.metadata().map_err(unread)?.len();
    let same = std::fs::canonicalize(base).map_err(unread)? == std::fs::canonicalize(image).unwrap_or_default();
    if same {
        return Err(unwritten(io::Error::new(
            io::ErrorKind::InvalidInput,
            "it is the base image, which is never written",
        )));
    }
    let to = File::create(image).map_err(unwritten)?;
    to.set_len(length).map_err(unwritten)?;
    let mut buffer = vec![0; CHUNK as usize];
    let mut done = 0;
    while done < length {
        let bytes = &mut buffer[..CHUNK.min(length - done) as usize];
        from.read_exact_at(bytes, done).map_err(unread)?;
        if bytes.iter().any(|b| *b != 0) {
            to.write_all_at(bytes, done).map_err(unwritten)?;
        }
        done += bytes.len() as u64;
    }
    Ok(())
}
