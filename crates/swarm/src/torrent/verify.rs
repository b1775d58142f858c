//! Checking content against a torrent.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::{Torrent, TorrentError, sha1};

/// What a verification found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Verified {
    /// How many pieces are as they should be.
    pub good: u64,
    /// The numbers of those that are not: other bytes, or bytes that are missing.
    pub bad: Vec<u64>,
    /// Files that are longer than they should be, which no piece shows.
    pub too_long: Vec<PathBuf>,
}

impl Verified {
    /// Whether the content is exactly the torrent's.
    pub fn is_good(&self) -> bool {
        self.bad.is_empty() && self.too_long.is_empty()
    }
}

impl Torrent {
    /// Compares the file (or folder) at `path` with this torrent, reading it once; `progress` hears the bytes checked
    /// so far. Files that are missing or short make their pieces bad; padding is zeros and not looked for.
    ///
    /// # Errors
    /// If something that is there cannot be read.
    pub fn verify(&self, path: &Path, progress: &mut dyn FnMut(u64)) -> Result<Verified, TorrentError> {
        let mut content = Content { torrent: self, root: path, next: 0, open: None, too_long: Vec::new() };
        let mut verified = Verified::default();
        let mut piece = Vec::new();
        let mut done = 0;
        for (number, expected) in (0u64..).zip(&self.pieces) {
            let length = u64::from(self.piece_length).min(self.length - done);
            piece.clear();
            let whole = content.read(length, &mut piece)?;
            if whole && sha1(&piece) == *expected {
                verified.good += 1;
            } else {
                verified.bad.push(number);
            }
            done += length;
            progress(done);
        }
        verified.too_long = content.too_long;
        Ok(verified)
    }
}

/// The files of a torrent as one stream in which missing bytes are skipped.
struct Content<'a> {
    torrent: &'a Torrent,
    root: &'a Path,
    next: usize,
    open: Option<Open>,
    too_long: Vec<PathBuf>,
}

struct Open {
    path: PathBuf,
    source: Source,
    left: u64,
}

enum Source {
    File(File),
    Padding,
    /// It is not there, or ended early.
    Missing,
}

impl Content<'_> {
    /// Appends the next `length` bytes to `piece`; false if some are missing (the position moves on all the same).
    fn read(&mut self, mut length: u64, piece: &mut Vec<u8>) -> Result<bool, TorrentError> {
        let mut whole = true;
        while length > 0 {
            if self.open.as_ref().is_none_or(|open| open.left == 0) && !self.open_next()? {
                return Ok(false);
            }
            let Some(open) = &mut self.open else { return Ok(false) };
            let want = length.min(open.left);
            let read = |source| TorrentError::Read { path: open.path.clone(), source };
            let got = match &mut open.source {
                Source::File(file) => file.take(want).read_to_end(piece).map_err(read)? as u64,
                Source::Padding => io::repeat(0).take(want).read_to_end(piece).map_err(read)? as u64,
                Source::Missing => 0,
            };
            if got < want {
                whole = false;
                open.source = Source::Missing;
            }
            open.left -= want;
            length -= want;
        }
        Ok(whole)
    }

    fn open_next(&mut self) -> Result<bool, TorrentError> {
        let Some(wanted) = self.torrent.files.get(self.next) else { return Ok(false) };
        self.next += 1;
        let path = wanted.path.iter().fold(self.root.to_owned(), |path, name| path.join(name));
        if wanted.padding {
            self.open = Some(Open { path, source: Source::Padding, left: wanted.length });
            return Ok(true);
        }
        let read = |source| TorrentError::Read { path: path.clone(), source };
        let source = match File::open(&path) {
            Ok(file) => {
                let metadata = file.metadata().map_err(read)?;
                if metadata.is_dir() {
                    return Err(TorrentError::Kind { path, found: "a folder" });
                }
                // Devices have no length of their own.
                if metadata.is_file() && metadata.len() > wanted.length {
                    self.too_long.push(path.clone());
                }
                Source::File(file)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Source::Missing,
            Err(error) => return Err(read(error)),
        };
        self.open = Some(Open { path, source, left: wanted.length });
        Ok(true)
    }
}
