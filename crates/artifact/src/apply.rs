//! Segments to a disk, in any order, each hashed first; what is journaled is on the medium.

use std::io;
use std::path::Path;
use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use crate::bytes::sha256;
use crate::decode::SegmentError;
use crate::disk::{DeviceTooSmall, ImageDisk, check_fits};
use crate::index::{Index, Segment};
use crate::record_log::{JournalError, RecordLog};

/// What happened, and to which segment.
const RECORD_LEN: usize = 9;
const WRITTEN: u8 = 1;
const FORGOTTEN: u8 = 2;

/// Why a segment was not applied, or not recorded.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The journal could not be used.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The frame is not the segment. Nothing was written.
    #[error(transparent)]
    Segment(#[from] SegmentError),
    /// The disk is too short to hold the payload. Nothing was written.
    #[error(transparent)]
    DeviceTooSmall(#[from] DeviceTooSmall),
    /// Zeros were to be written for a segment that has other bytes.
    #[error("segment {0} is not a segment of zeros: fetch its frame")]
    NotZero(u64),
    /// The disk did not say how long it is.
    #[error("cannot read the device's length: check that it is still attached")]
    Length(#[source] io::Error),
    /// The segment could not be written; it counts as missing.
    #[error("cannot write segment {number} to the slot at byte {offset}: check the device")]
    Write {
        /// The segment.
        number: u64,
        /// Where, in bytes.
        offset: u64,
        /// Why.
        source: io::Error,
    },
    /// The disk could not be read again.
    #[error("cannot read segment {number} from the slot at byte {offset}: check the device")]
    Read {
        /// The segment.
        number: u64,
        /// Where, in bytes.
        offset: u64,
        /// Why.
        source: io::Error,
    },
    /// The disk's caches could not be dropped, so that reading would prove nothing.
    #[error("cannot drop the device's cached pages, so reading would prove nothing")]
    DropCaches(#[source] io::Error),
    /// The disk could not be synced.
    ///
    /// Everything written since the last checkpoint counts as missing again, because the kernel may have thrown it
    /// away and a later sync would not say so.
    #[error("cannot sync the slot, so {lost} segment(s) must be written again: check the device")]
    Sync {
        /// How many segments that is.
        lost: u64,
        /// Why.
        source: io::Error,
    },
}

/// What hashing the slot again found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rechecked {
    /// Segments that stand on the disk as they should.
    pub good: u64,
    /// Segments that do not, and are missing now.
    pub bad: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Held {
    Missing,
    /// On the disk, as far as a write that returned means that.
    Written,
    /// Synced and journaled.
    Durable,
}

/// Writes an artifact's segments to one disk and remembers which are there, across crashes.
///
/// The journal belongs to one artifact and one disk: give each slot its own path.
#[derive(Debug)]
pub struct Applier {
    index: Arc<Index>,
    log: RecordLog<RECORD_LEN>,
    held: Vec<Held>,
    /// Decoded bytes of the segment at hand; kept, because it is the largest thing here.
    buffer: Vec<u8>,
}

impl Applier {
    /// Continues with the journal at that path, or begins it.
    ///
    /// A torn tail is cut, a journal of another artifact discarded.
    ///
    /// # Errors
    /// [`ApplyError::Journal`].
    pub fn open(index: Arc<Index>, journal: &Path) -> Result<Self, ApplyError> {
        let total = index.segments().len() as u64;
        let context = Sha256::new().chain_update("filial apply 1").chain_update(index.sha256().as_bytes());
        // Enough for every segment to be written and forgotten a few times; beyond that, hashing the slot is cheaper.
        let (log, records) = RecordLog::<RECORD_LEN>::open(journal, context.finalize().into(), 64 + 8 * total)?;
        let mut held = vec![Held::Missing; index.segments().len()];
        for [what, number @ ..] in records {
            let place = usize::try_from(u64::from_le_bytes(number)).ok().and_then(|number| held.get_mut(number));
            if let Some(place) = place {
                *place = if what == WRITTEN { Held::Durable } else { Held::Missing };
            }
        }
        Ok(Self { index, log, held, buffer: Vec::new() })
    }

    /// The index whose segments are applied.
    pub fn index(&self) -> &Arc<Index> {
        &self.index
    }

    /// The segments that are still to be applied, in the order of the payload.
    ///
    /// Segments of zeros among them.
    pub fn missing(&self) -> impl Iterator<Item = &Segment> {
        let held = self.index.segments().iter().zip(&self.held);
        held.filter(|(_, held)| **held == Held::Missing).map(|(segment, _)| segment)
    }

    /// How many segments are written, checkpointed or not.
    pub fn done(&self) -> u64 {
        self.total() - self.count(Held::Missing)
    }

    /// How many segments there are.
    pub fn total(&self) -> u64 {
        self.held.len() as u64
    }

    /// How many payload bytes are written, checkpointed or not.
    pub fn done_bytes(&self) -> u64 {
        self.index.payload().length - self.missing().map(|segment| u64::from(segment.payload_length)).sum::<u64>()
    }

    /// How many segments are written and not yet safe from a power cut.
    ///
    /// They wait for a checkpoint.
    pub fn pending(&self) -> u64 {
        self.count(Held::Written)
    }

    /// Whether every segment is written and checkpointed.
    ///
    /// Only [`read_back`](crate::read_back) says that they are right.
    pub fn is_complete(&self) -> bool {
        self.count(Held::Durable) == self.total()
    }

    /// Decodes a segment's frame, checks it, and only then writes it.
    ///
    /// A segment that is there already is not touched: writing over journaled bytes could lose them.
    ///
    /// # Errors
    /// [`ApplyError`]; the segment counts as missing.
    pub fn apply(&mut self, disk: &mut dyn ImageDisk, number: u64, frame: &[u8]) -> Result<(), ApplyError> {
        let segment = self.known(number)?;
        if self.held[segment.number as usize] != Held::Missing {
            return Ok(());
        }
        self.index.decode(number, frame, &mut self.buffer)?;
        check_fits(disk, self.index.payload()).map_err(ApplyError::Length)??;
        let offset = segment.payload_offset;
        disk.write_at(offset, &self.buffer).map_err(|source| ApplyError::Write { number, offset, source })?;
        self.held[segment.number as usize] = Held::Written;
        Ok(())
    }

    /// Writes a segment of zeros: needs no frame, but the disk holds an older image there.
    ///
    /// # Errors
    /// [`ApplyError`]; the segment counts as missing.
    pub fn apply_zero(&mut self, disk: &mut dyn ImageDisk, number: u64) -> Result<(), ApplyError> {
        if !self.known(number)?.is_zero() {
            return Err(ApplyError::NotZero(number));
        }
        self.apply(disk, number, &[])
    }

    /// Syncs the disk, then journals what was written since the last checkpoint.
    ///
    /// Returns once the journal survives a power cut.
    ///
    /// # Errors
    /// [`ApplyError::Sync`] or [`ApplyError::Journal`]; after the latter the next checkpoint tries again.
    pub fn checkpoint(&mut self, disk: &mut dyn ImageDisk) -> Result<(), ApplyError> {
        let pending = self.numbers(Held::Written);
        if pending.is_empty() {
            return Ok(());
        }
        if let Err(source) = disk.sync() {
            self.mark(&pending, Held::Missing);
            return Err(ApplyError::Sync { lost: pending.len() as u64, source });
        }
        self.log.append_durably(&records(WRITTEN, &pending))?;
        self.mark(&pending, Held::Durable);
        Ok(())
    }

    /// Makes a segment missing again, durably, so that it is applied again.
    ///
    /// # Errors
    /// [`ApplyError`] when there is no such segment or the journal cannot be written; it then stays as it was.
    pub fn forget(&mut self, number: u64) -> Result<(), ApplyError> {
        let place = self.known(number)?.number;
        self.forget_all(&[place])
    }

    /// Hashes every segment where it stands on the disk, past its caches.
    ///
    /// Those that are right are held from now on (after the next [`checkpoint`](Self::checkpoint)), even if no
    /// journal knew of them; the others are missing. For a failed read-back, which says that a bit is wrong and not
    /// where, and for a lost journal. Calls `progress` with the payload bytes looked at.
    ///
    /// # Errors
    /// [`ApplyError`] when the disk could not be read; what was held before then still is.
    pub fn recheck(
        &mut self,
        disk: &mut dyn ImageDisk,
        progress: &mut dyn FnMut(u64),
    ) -> Result<Rechecked, ApplyError> {
        check_fits(disk, self.index.payload()).map_err(ApplyError::Length)??;
        disk.drop_caches().map_err(ApplyError::DropCaches)?;
        let (mut good, mut bad) = (Vec::new(), Vec::new());
        for segment in self.index.segments() {
            let (number, offset) = (segment.number, segment.payload_offset);
            self.buffer.resize(segment.payload_length as usize, 0);
            let read = disk.read_at(offset, &mut self.buffer);
            read.map_err(|source| ApplyError::Read { number, offset, source })?;
            let right = sha256(&self.buffer) == segment.sha256;
            if right {
                good.push(number)
            } else {
                bad.push(number)
            }
            progress(offset + u64::from(segment.payload_length));
        }
        self.forget_all(&bad)?;
        let found = Rechecked { good: good.len() as u64, bad: bad.len() as u64 };
        good.retain(|number| self.held[*number as usize] == Held::Missing);
        self.mark(&good, Held::Written);
        Ok(found)
    }

    fn forget_all(&mut self, numbers: &[u64]) -> Result<(), ApplyError> {
        let journaled: Vec<u64> =
            numbers.iter().copied().filter(|number| self.held[*number as usize] == Held::Durable).collect();
        if !journaled.is_empty() {
            self.log.append_durably(&records(FORGOTTEN, &journaled))?;
        }
        self.mark(numbers, Held::Missing);
        Ok(())
    }

    fn known(&self, number: u64) -> Result<Segment, SegmentError> {
        let total = self.total();
        self.index.segment(number).copied().ok_or(SegmentError::Unknown { number, total })
    }

    fn count(&self, held: Held) -> u64 {
        self.held.iter().filter(|h| **h == held).count() as u64
    }

    fn numbers(&self, held: Held) -> Vec<u64> {
        (0..).zip(&self.held).filter(|(_, h)| **h == held).map(|(number, _)| number).collect()
    }

    fn mark(&mut self, numbers: &[u64], held: Held) {
        for number in numbers {
            self.held[*number as usize] = held;
        }
    }
}

fn records(what: u8, numbers: &[u64]) -> Vec<[u8; RECORD_LEN]> {
    let record = |number: &u64| {
        let mut record = [what; RECORD_LEN];
        record[1..].copy_from_slice(&number.to_le_bytes());
        record
    };
    numbers.iter().map(record).collect()
}
