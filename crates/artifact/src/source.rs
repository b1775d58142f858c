//! Where a payload's bytes come from.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// Random access to the bytes of one payload, from several threads.
pub trait PayloadSource: Send + Sync {
    /// The payload's length in bytes.
    fn length(&self) -> u64;

    /// Fills `buf` from `offset`. Fails with `UnexpectedEof` rather than give fewer bytes.
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()>;
}

/// A payload that lies inside a file, for example in an update archive.
///
/// No copy of it is ever made.
#[derive(Debug)]
pub struct FileRange {
    file: File,
    offset: u64,
    length: u64,
}

impl FileRange {
    /// The `length` bytes of `file` from `offset`.
    pub fn new(file: File, offset: u64, length: u64) -> Self {
        Self { file, offset, length }
    }

    /// A whole file. Fails when its length cannot be found out.
    pub fn whole(file: File) -> io::Result<Self> {
        let length = file.metadata()?.len();
        Ok(Self { file, offset: 0, length })
    }
}

impl PayloadSource for FileRange {
    fn length(&self) -> u64 {
        self.length
    }

    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let inside = offset.checked_add(buf.len() as u64).is_some_and(|end| end <= self.length);
        let at = self.offset.checked_add(offset).filter(|_| inside);
        let at = at.ok_or_else(|| io::Error::new(io::ErrorKind::UnexpectedEof, "past the end of the payload"))?;
        self.file.read_exact_at(buf, at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn a_range_shows_its_own_bytes_and_nothing_beyond() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"before|payload|after").unwrap();
        let range = FileRange::new(file, 7, 7);
        assert_eq!(range.length(), 7);
        let mut all = [0; 7];
        range.read_exact_at(&mut all, 0).unwrap();
        assert_eq!(&all, b"payload");
        let mut some = [0; 3];
        for offset in [5, 8, u64::MAX] {
            let error = range.read_exact_at(&mut some, offset).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof, "at {offset}");
        }
    }

    #[test]
    fn a_file_that_was_cut_short_is_an_error() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(10).unwrap();
        let range = FileRange::new(file, 0, 20);
        assert_eq!(range.read_exact_at(&mut [0; 20], 0).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }
}
