//! A tar's blocks, one after the other, under bounds: headers and bodies, and where each lies.

use std::io::{self, Read};

use tar::Header;

use crate::flaw::{Flaw, Why};
use crate::limits::Limits;

/// Length of a tar block in bytes (POSIX.1-2017, pax, "ustar Interchange Format").
pub(crate) const BLOCK: usize = 512;

/// How much of a body is read at once, in bytes.
///
/// Large enough that hashing, not calling, is the work.
const CHUNK: usize = 256 * 1024;

/// Why a pass stopped early.
#[derive(Debug)]
pub(crate) enum Stop {
    /// The reader failed: says nothing about the archive.
    Io(io::Error),
    /// The archive is at fault.
    Flaw(Flaw),
}

impl From<io::Error> for Stop {
    fn from(e: io::Error) -> Self {
        Self::Io(e)
    }
}

impl From<Flaw> for Stop {
    fn from(f: Flaw) -> Self {
        Self::Flaw(f)
    }
}

/// Counts, bounds and reports what is read.
pub(crate) struct Blocks<'a, R> {
    reader: R,
    at: u64,
    limits: &'a Limits,
    progress: &'a mut dyn FnMut(u64),
    chunk: Box<[u8]>,
}

impl<'a, R: Read> Blocks<'a, R> {
    pub(crate) fn new(reader: R, limits: &'a Limits, progress: &'a mut dyn FnMut(u64)) -> Self {
        Self { reader, at: 0, limits, progress, chunk: vec![0; CHUNK].into_boxed_slice() }
    }

    /// How many bytes were read so far.
    pub(crate) fn at(&self) -> u64 {
        self.at
    }

    /// The next header, checked by its sum; `None` at the end mark.
    pub(crate) fn header(&mut self) -> Result<Option<Header>, Stop> {
        let start = self.at;
        let mut header = Header::new_old();
        match self.fill(header.as_mut_bytes())? {
            0 if start == 0 => return Err(Flaw::Empty.into()),
            0 => return Err(Flaw::NoEnd { at: start }.into()),
            BLOCK => {}
            _ => return Err(Flaw::Truncated { at: self.at, inside: "a header".into() }.into()),
        }
        let bytes = header.as_bytes();
        if bytes.iter().all(|b| *b == 0) {
            return Ok(None);
        }
        let sum: u64 =
            bytes.iter().enumerate().map(|(i, b)| if (148..156).contains(&i) { 32 } else { u64::from(*b) }).sum();
        if number(&bytes[148..156]) != Some(sum) {
            if let Some(with) = packed_as(bytes).filter(|_| start == 0) {
                return Err(Flaw::Compressed { with }.into());
            }
            return Err(Flaw::BadHeader { at: start, why: Why::new("header-checksum", "its checksum is wrong") }.into());
        }
        Ok(Some(header))
    }

    /// Reads a body of `size` bytes and its padding, handing over the body in chunks.
    pub(crate) fn body(&mut self, size: u64, inside: &str, mut take: impl FnMut(&[u8])) -> Result<(), Stop> {
        let mut left = size;
        let mut chunk = std::mem::take(&mut self.chunk);
        while left > 0 {
            let want = usize::try_from(left).map_or(CHUNK, |l| l.min(CHUNK));
            let got = self.fill(&mut chunk[..want])?;
            take(&chunk[..got]);
            if got < want {
                return Err(Flaw::Truncated { at: self.at, inside: inside.to_owned() }.into());
            }
            left -= want as u64;
        }
        self.chunk = chunk;
        let rest = size % BLOCK as u64;
        if rest == 0 {
            return Ok(());
        }
        let want = BLOCK - rest as usize;
        if self.fill(&mut [0; BLOCK][..want])? < want {
            return Err(Flaw::Truncated { at: self.at, inside: inside.to_owned() }.into());
        }
        Ok(())
    }

    /// A whole body at once. The caller has checked that `size` is within its bounds.
    pub(crate) fn small_body(&mut self, size: u64, inside: &str) -> Result<Vec<u8>, Stop> {
        // Grows with what arrives: a header that promises much and a file that ends cost nothing.
        let mut bytes = Vec::new();
        self.body(size, inside, |part| bytes.extend_from_slice(part))?;
        Ok(bytes)
    }

    /// After the first empty block.
    ///
    /// One more must follow, then nothing but a bounded filling of zeros.
    pub(crate) fn end(&mut self) -> Result<(), Stop> {
        let start = self.at;
        let mut chunk = std::mem::take(&mut self.chunk);
        loop {
            let at = self.at;
            let got = self.fill(&mut chunk[..CHUNK])?;
            if let Some(i) = chunk[..got].iter().position(|b| *b != 0) {
                return Err(Flaw::Trailing { at: at + i as u64 }.into());
            }
            if self.at - start > BLOCK as u64 + self.limits.max_fill_bytes {
                return Err(Flaw::LongFill { limit: self.limits.max_fill_bytes }.into());
            }
            if got < CHUNK {
                break;
            }
        }
        if self.at - start < BLOCK as u64 {
            return Err(Flaw::NoEnd { at: self.at }.into());
        }
        Ok(())
    }

    /// Fills `buf` as far as the reader goes.
    fn fill(&mut self, buf: &mut [u8]) -> Result<usize, Stop> {
        let mut filled = 0;
        while filled < buf.len() {
            match self.reader.read(&mut buf[filled..]) {
                Ok(0) => break,
                Ok(n) => filled += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e.into()),
            }
        }
        self.at += filled as u64;
        if self.at > self.limits.max_archive_bytes {
            return Err(Flaw::TooLong { limit: self.limits.max_archive_bytes }.into());
        }
        (self.progress)(self.at);
        Ok(filled)
    }
}

/// What people upload instead of a tar, by its first bytes.
fn packed_as(head: &[u8]) -> Option<&'static str> {
    const KNOWN: [(&[u8], &str); 6] = [
        (b"\x1f\x8b", "compressed with gzip"),
        (b"\xfd7zXZ\0", "compressed with xz"),
        (b"\x28\xb5\x2f\xfd", "compressed with zstd"),
        (b"BZh", "compressed with bzip2"),
        (b"PK\x03\x04", "a zip"),
        (b"7z\xbc\xaf\x27\x1c", "a 7z"),
    ];
    KNOWN.iter().find(|(magic, _)| head.starts_with(magic)).map(|(_, what)| *what)
}

/// The size that a header states.
///
/// Octal, or GNU's base-256 (first bit set) for 8 GiB and more.
///
/// Stricter than most readers: a size that two programs could read differently is refused.
pub(crate) fn entry_size(header: &Header) -> Option<u64> {
    number(&header.as_old().size)
}

fn number(field: &[u8]) -> Option<u64> {
    let (first, rest) = field.split_first()?;
    if first & 0x80 != 0 {
        let (high, low) = rest.split_at_checked(rest.len().checked_sub(8)?)?;
        let plain = *first == 0x80 && high.iter().all(|b| *b == 0);
        return if plain { low.try_into().ok().map(u64::from_be_bytes) } else { None };
    }
    let digits = field.trim_ascii_start();
    let end = digits.iter().position(|b| !(b'0'..=b'7').contains(b)).unwrap_or(digits.len());
    let (digits, rest) = digits.split_at(end);
    if digits.is_empty() || rest.iter().any(|b| !matches!(b, 0 | b' ')) {
        return None;
    }
    // Twelve octal digits are 36 bits: this cannot overflow.
    Some(digits.iter().fold(0, |n, d| n << 3 | u64::from(d - b'0')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_one_reading_or_none() {
        assert_eq!(number(b"00000000017\0"), Some(15));
        assert_eq!(number(b"         17 "), Some(15));
        assert_eq!(number(b"777777777777"), Some((1 << 36) - 1));
        assert_eq!(number(b"\x80\0\0\0\0\0\0\x02\0\0\0\0"), Some(1 << 33));
        for bad in [
            &b"            "[..],
            b"\0\0\0\0\0\0\0\0\0\0\0\0",
            b"+0000000017\0",
            b"-0000000017\0",
            b"00000000018\0",
            b"17\x0017\0\0\0\0\0\0\0",
            b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
            b"\x80\0\0\x01\0\0\0\0\0\0\0\0",
            b"\x81\0\0\0\0\0\0\0\0\0\0\0",
        ] {
            assert_eq!(number(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn the_tar_crate_writes_what_this_reads() {
        for size in [0, 1, 511, 1 << 33, (1 << 33) - 1, u64::MAX] {
            let mut header = Header::new_ustar();
            header.set_size(size);
            assert_eq!(entry_size(&header), Some(size));
        }
    }
}
