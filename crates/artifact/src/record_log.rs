//! An append-only file of small fixed records that survives being cut anywhere.
//!
//! Every record carries a check over its place, its bytes and what the log is about. Reading stops at the first that
//! does not check: a torn tail is cut off. A log about something else, or with a damaged beginning, is discarded as a
//! whole; that is always safe, because a log only saves work.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

const MAGIC: [u8; 8] = *b"\xf1filjnl\x01";
const CHECK_LEN: usize = 8;
const HEADER_LEN: u64 = 48;

/// Why a journal could not be used.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// It could not be opened or created.
    #[error("cannot open the journal {path}: check that its folder exists, and its permissions")]
    Open {
        /// The journal.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Another process works with it.
    #[error("the journal {path} is in use by another process: wait for it to end")]
    Busy {
        /// The journal.
        path: PathBuf,
    },
    /// It could not be read.
    #[error("cannot read the journal {path}")]
    Read {
        /// The journal.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It could not be written or synced.
    #[error("cannot write the journal {path}: check free space")]
    Write {
        /// The journal.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// A log of records of `N` bytes. Locked against other processes while it is open.
#[derive(Debug)]
pub(crate) struct RecordLog<const N: usize> {
    file: File,
    path: PathBuf,
    context: [u8; 32],
    count: u64,
}

impl<const N: usize> RecordLog<N> {
    const RECORD_LEN: u64 = (N + CHECK_LEN) as u64;

    /// Opens or begins the log at `path` about `context`, and gives the records that it holds.
    ///
    /// One with more than `most` records is discarded too, so that memory is bounded whatever lies there.
    pub(crate) fn open(path: &Path, context: [u8; 32], most: u64) -> Result<(Self, Vec<[u8; N]>), JournalError> {
        let opening = |source| JournalError::Open { path: path.to_owned(), source };
        let file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path).map_err(opening)?;
        file.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => JournalError::Busy { path: path.to_owned() },
            TryLockError::Error(source) => opening(source),
        })?;
        // The previous holder of the lock may have removed the file since it was opened here.
        let named = std::fs::metadata(path).and_then(|named| Ok((named.ino(), file.metadata()?.ino())));
        if !named.is_ok_and(|(named, opened)| named == opened) {
            return Err(JournalError::Busy { path: path.to_owned() });
        }
        let mut log = Self { file, path: path.to_owned(), context, count: 0 };
        let limit = HEADER_LEN + Self::RECORD_LEN * most;
        let mut bytes = Vec::new();
        (&log.file).take(limit + 1).read_to_end(&mut bytes).map_err(|source| log.read_error(source))?;
        let header = log.header();
        let records = match bytes.strip_prefix(header.as_slice()) {
            Some(records) if bytes.len() as u64 <= limit => log.checked(records),
            _ => {
                if !bytes.is_empty() {
                    tracing::info!(path = %log.path.display(), "journal of other work discarded");
                }
                log.begin(&header)?;
                Vec::new()
            }
        };
        log.truncate(records.len() as u64)?;
        Ok((log, records))
    }

    /// Where it lies.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Appends records without waiting for the medium.
    ///
    /// After an error the log is as it was before.
    pub(crate) fn append(&mut self, records: &[[u8; N]]) -> Result<(), JournalError> {
        self.write_at_end(records)?;
        self.count += records.len() as u64;
        Ok(())
    }

    /// Appends records and returns once they survive a power cut.
    ///
    /// After an error none of them is counted, and the next append writes over whatever part of them arrived.
    pub(crate) fn append_durably(&mut self, records: &[[u8; N]]) -> Result<(), JournalError> {
        self.write_at_end(records)?;
        self.sync()?;
        self.count += records.len() as u64;
        Ok(())
    }

    /// Waits until everything appended survives a power cut.
    pub(crate) fn sync(&self) -> Result<(), JournalError> {
        self.file.sync_data().map_err(|source| self.write_error(source))
    }

    /// Keeps the first `count` records only.
    pub(crate) fn truncate(&mut self, count: u64) -> Result<(), JournalError> {
        let length = HEADER_LEN + Self::RECORD_LEN * count;
        self.file.set_len(length).map_err(|source| self.write_error(source))?;
        self.count = count;
        Ok(())
    }

    fn write_at_end(&self, records: &[[u8; N]]) -> Result<(), JournalError> {
        let mut bytes = Vec::with_capacity(records.len() * (N + CHECK_LEN));
        for (number, record) in (self.count..).zip(records) {
            bytes.extend(record);
            bytes.extend(self.check(number, record));
        }
        let end = HEADER_LEN + Self::RECORD_LEN * self.count;
        self.file.write_all_at(&bytes, end).map_err(|source| self.write_error(source))
    }

    /// Empties the file and makes its header, and the file's own entry in its folder, durable.
    fn begin(&self, header: &[u8]) -> Result<(), JournalError> {
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        self.file
            .set_len(0)
            .and_then(|()| self.file.write_all_at(header, 0))
            .and_then(|()| self.file.sync_all())
            .and_then(|()| File::open(folder)?.sync_all())
            .map_err(|source| self.write_error(source))
    }

    fn checked(&self, bytes: &[u8]) -> Vec<[u8; N]> {
        let mut records = Vec::new();
        for (number, chunk) in (0..).zip(bytes.chunks(N + CHECK_LEN)) {
            match chunk.split_first_chunk::<N>() {
                Some((record, check)) if check == self.check(number, record) => records.push(*record),
                _ => break,
            }
        }
        records
    }

    fn header(&self) -> Vec<u8> {
        let mut header = [MAGIC.as_slice(), &self.context].concat();
        header.extend(self.check(u64::MAX, &[]));
        header
    }

    fn check(&self, number: u64, record: &[u8]) -> [u8; CHECK_LEN] {
        let digest: [u8; 32] = Sha256::new()
            .chain_update(self.context)
            .chain_update((N as u64).to_le_bytes())
            .chain_update(number.to_le_bytes())
            .chain_update(record)
            .finalize()
            .into();
        std::array::from_fn(|i| digest[i])
    }

    fn read_error(&self, source: io::Error) -> JournalError {
        JournalError::Read { path: self.path.clone(), source }
    }

    fn write_error(&self, source: io::Error) -> JournalError {
        JournalError::Write { path: self.path.clone(), source }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ABOUT: [u8; 32] = [7; 32];

    fn reopen(path: &Path) -> Vec<[u8; 5]> {
        RecordLog::<5>::open(path, ABOUT, 100).unwrap().1
    }

    fn filled(path: &Path, records: &[[u8; 5]]) {
        let (mut log, before) = RecordLog::<5>::open(path, ABOUT, 100).unwrap();
        assert!(before.is_empty());
        log.append_durably(records).unwrap();
    }

    proptest! {
        #[test]
        fn cut_anywhere_it_keeps_the_whole_records_before_and_goes_on(
            records in prop::collection::vec(any::<[u8; 5]>(), 0..12), cut in 0u64..220, next: [u8; 5],
        ) {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("journal");
            filled(&path, &records);
            let file = OpenOptions::new().write(true).open(&path).unwrap();
            let length = file.metadata().unwrap().len().min(cut);
            file.set_len(length).unwrap();
            let whole = (length.saturating_sub(HEADER_LEN) / 13) as usize;
            let (mut log, kept) = RecordLog::<5>::open(&path, ABOUT, 100).unwrap();
            prop_assert_eq!(&kept, &records[..whole]);
            log.append(&[next]).unwrap();
            drop(log);
            let after = reopen(&path);
            prop_assert_eq!(after.len(), whole + 1);
            prop_assert_eq!(after[whole], next);
        }

        #[test]
        fn a_flipped_bit_ends_it_there(at in 0u64..HEADER_LEN + 13 * 4, bit in 0u8..8) {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("journal");
            let records = [[1; 5], [2; 5], [3; 5], [4; 5]];
            filled(&path, &records);
            let file = OpenOptions::new().read(true).write(true).open(&path).unwrap();
            let mut byte = [0];
            file.read_exact_at(&mut byte, at).unwrap();
            file.write_all_at(&[byte[0] ^ (1 << bit)], at).unwrap();
            let whole = (at.saturating_sub(HEADER_LEN) / 13) as usize;
            prop_assert_eq!(reopen(&path), &records[..whole]);
        }
    }

    #[test]
    fn records_that_change_places_do_not_check() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        filled(&path, &[[1; 5], [2; 5]]);
        let file = OpenOptions::new().read(true).write(true).open(&path).unwrap();
        let mut second = [0; 13];
        file.read_exact_at(&mut second, HEADER_LEN + 13).unwrap();
        file.write_all_at(&second, HEADER_LEN).unwrap();
        assert!(reopen(&path).is_empty());
    }

    #[test]
    fn a_log_about_something_else_or_too_long_is_discarded() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        filled(&path, &[[1; 5], [2; 5]]);
        assert_eq!(reopen(&path).len(), 2);
        assert!(RecordLog::<5>::open(&path, ABOUT, 1).unwrap().1.is_empty());
        filled(&path, &[[1; 5]]);
        assert!(RecordLog::<5>::open(&path, [8; 32], 100).unwrap().1.is_empty());
        assert!(reopen(&path).is_empty(), "what was discarded must not come back");
    }

    #[test]
    fn two_at_once_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        let _held = RecordLog::<5>::open(&path, ABOUT, 100).unwrap();
        assert!(matches!(RecordLog::<5>::open(&path, ABOUT, 100), Err(JournalError::Busy { .. })));
    }
}
