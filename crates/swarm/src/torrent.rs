//! Torrent files: BitTorrent v1, private, deterministic. Of a hybrid of v1 and v2 (BEP 52) the v1 part is read.
//!
//! The info dictionary depends on nothing but the content, its name and the piece length, so every tier's torrent
//! file has the same info hash and joins the same swarm; only the trackers around it differ.

mod create;
mod parse;
mod verify;

use std::io;
use std::path::PathBuf;

use fleet_types::{Digest, InfoHash, is_invisible};
use sha1::{Digest as _, Sha1};

use crate::bencode::{BencodeError, Writer};

pub use create::{create, create_any};
pub use verify::Verified;

/// The largest torrent file that is read or made, in bytes.
pub const MAX_TORRENT_LEN: usize = 16 * 1024 * 1024;
/// The smallest piece length that is read or made.
pub const MIN_PIECE_LENGTH: u32 = 16 * 1024;
/// The largest piece length that is made. A piece is served only once it is whole: longer ones hold terminals up.
pub const MAX_PIECE_LENGTH: u32 = 4 * 1024 * 1024;
/// The largest piece length that is read, in torrents of other programs.
const MAX_FOREIGN_PIECE_LENGTH: u32 = 16 * 1024 * 1024;
/// The most files that a torrent may have.
const MAX_FILES: usize = 50_000;

const KIB: u32 = 1024;
const MIB: u64 = 1024 * 1024;

/// The piece length for content of `length` bytes: small pieces spread sooner, large ones keep torrent files small.
pub const fn piece_length_for(length: u64) -> u32 {
    if length < 128 * MIB {
        256 * KIB
    } else if length < 512 * MIB {
        512 * KIB
    } else if length <= 8 * 1024 * MIB {
        1024 * KIB
    } else if length <= 1024 * 1024 * MIB {
        2048 * KIB
    } else {
        MAX_PIECE_LENGTH
    }
}

/// A torrent: an info dictionary that was checked, and the trackers of the file it came in.
#[derive(Clone, PartialEq, Eq)]
pub struct Torrent {
    /// As found or made: the info hash is over these bytes and nothing re-encoded.
    info: Vec<u8>,
    hash: InfoHash,
    name: String,
    piece_length: u32,
    pieces: Vec<[u8; 20]>,
    files: Vec<TorrentFile>,
    folder: bool,
    private: bool,
    length: u64,
    tiers: Vec<Vec<String>>,
}

/// One file of a torrent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TorrentFile {
    /// Its path below the torrent's folder, one name each; empty for a torrent that is a single file.
    pub path: Vec<String>,
    /// Its length in bytes.
    pub length: u64,
    /// Whether it is a padding file of zeros (BEP 47), which need not be on the disk.
    pub padding: bool,
}

/// A torrent of one file, and the file's digest, from the same pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Created {
    /// The torrent, without trackers.
    pub torrent: Torrent,
    /// SHA-256 of the file.
    pub sha256: Digest,
}

impl Torrent {
    /// Checks that this is a torrent as head office makes them for an artifact: one file of that name and length,
    /// private, in pieces that terminals can bear, with a tracker.
    ///
    /// # Errors
    /// [`TorrentError::Invalid`], saying which of these it is not.
    pub fn check_carries(&self, file_name: &str, length: u64) -> Result<(), TorrentError> {
        let invalid = |code, why| Err(TorrentError::Invalid { code, why });
        if self.folder || self.name != file_name {
            return invalid("torrent-other-file", "it is not of one file under the artifact's name");
        }
        if self.length != length {
            return invalid("torrent-other-length", "it is of another length than the artifact");
        }
        if !self.private {
            return invalid("torrent-not-private", "it is not private, so peers could be anywhere");
        }
        if self.piece_length > MAX_PIECE_LENGTH {
            return invalid("torrent-long-pieces", "its pieces are longer than head office makes them");
        }
        if !self.tiers.iter().flatten().any(|url| url.starts_with("http://")) {
            return invalid("torrent-no-tracker", "it names no HTTP tracker");
        }
        Ok(())
    }

    /// What names the swarm: SHA-1 over the bytes of the info dictionary.
    pub fn info_hash(&self) -> InfoHash {
        self.hash
    }

    /// The name of the file, or of the folder.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Bytes of the whole content.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Bytes of a piece; the last may be shorter.
    pub fn piece_length(&self) -> u32 {
        self.piece_length
    }

    /// How many pieces there are.
    pub fn piece_count(&self) -> u64 {
        self.pieces.len() as u64
    }

    /// Whether `bytes` are piece number `piece`; false beyond the last.
    pub(crate) fn piece_matches(&self, piece: u64, bytes: &[u8]) -> bool {
        let expected = usize::try_from(piece).ok().and_then(|piece| self.pieces.get(piece));
        expected.is_some_and(|expected| sha1(bytes) == *expected)
    }

    /// The files in the order in which the pieces run through them. One, with an empty path, for a single file.
    pub fn files(&self) -> &[TorrentFile] {
        &self.files
    }

    /// Whether the content is a folder.
    pub fn is_folder(&self) -> bool {
        self.folder
    }

    /// Whether clients may learn of peers from its trackers only (BEP 27). Always so for those we make.
    pub fn is_private(&self) -> bool {
        self.private
    }

    /// The trackers of the file it was read from, in tiers (BEP 12).
    pub fn tiers(&self) -> &[Vec<String>] {
        &self.tiers
    }

    /// The torrent file for these trackers: every tier's has the same info dictionary. No tiers, no trackers.
    ///
    /// Of a hybrid it is the v1 part: the piece layers of v2 stand outside the info dictionary and are left out.
    pub fn to_file(&self, tiers: &[Vec<String>]) -> Vec<u8> {
        let mut w = Writer::with_capacity(self.info.len() + 512);
        w.dict();
        if let Some(first) = tiers.iter().flatten().next() {
            w.text("announce").text(first).text("announce-list").list();
            for tier in tiers.iter().filter(|tier| !tier.is_empty()) {
                w.list();
                tier.iter().for_each(|tracker| {
                    w.text(tracker);
                });
                w.end();
            }
            w.end();
        }
        w.text("info").encoded(&self.info).end();
        w.finish()
    }
}

/// The tiers of a branch server's torrent from head office: its tracker only.
pub fn wan_tiers(wan: &str) -> Vec<Vec<String>> {
    vec![vec![wan.to_owned()]]
}

/// The tiers of a terminal's torrent: its branch's tracker only. A terminal never speaks to the WAN's.
pub fn lan_tiers(lan: &str) -> Vec<Vec<String>> {
    vec![vec![lan.to_owned()]]
}

/// The tiers of the torrent a branch server gives its own engine, so that it is in both swarms.
pub fn branch_tiers(wan: &str, lan: &str) -> Vec<Vec<String>> {
    vec![vec![wan.to_owned()], vec![lan.to_owned()]]
}

impl std::fmt::Debug for Torrent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Torrent")
            .field("hash", &self.hash.to_string())
            .field("name", &self.name)
            .field("length", &self.length)
            .field("piece_length", &self.piece_length)
            .field("files", &self.files.len())
            .field("private", &self.private)
            .field("tiers", &self.tiers)
            .finish_non_exhaustive()
    }
}

fn sha1(bytes: &[u8]) -> [u8; 20] {
    Sha1::digest(bytes).into()
}

/// Why a torrent could not be read, made or verified.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TorrentError {
    /// A torrent file beyond the bound.
    #[error(
        "a torrent file of {length} bytes is over the limit of {MAX_TORRENT_LEN}: use longer pieces or fewer files"
    )]
    TooLarge {
        /// Its length in bytes.
        length: u64,
    },
    /// Not canonical bencode.
    #[error("this is not a torrent file: its bencode is broken")]
    Bencode(#[from] BencodeError),
    /// Bencode, but not a torrent.
    #[error("this torrent file cannot be used: {why}")]
    Invalid {
        /// Its stable code.
        code: &'static str,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A name that a file cannot have.
    #[error(
        "`{name}` cannot be the name of a file in a torrent: use a plain name in UTF-8 without `/` or characters that are not seen, at most 255 bytes"
    )]
    Name {
        /// The name, shortened and with what cannot be printed replaced.
        name: String,
    },
    /// A piece length outside the bounds.
    #[error(
        "a piece length of {0} bytes is not possible: use a power of two from {MIN_PIECE_LENGTH} to {MAX_PIECE_LENGTH}"
    )]
    PieceLength(u32),
    /// Nothing to make a torrent of.
    #[error("{} has no content: a torrent needs at least one byte", path.display())]
    Empty {
        /// The file or folder.
        path: PathBuf,
    },
    /// Neither file nor folder, or a folder where a file is needed.
    #[error("{} is {found}: a torrent holds regular files, and folders of them", path.display())]
    Kind {
        /// What was looked at.
        path: PathBuf,
        /// What it is.
        found: &'static str,
    },
    /// The content changed while it was read.
    #[error("{} changed while it was read: wait until nothing writes to it, then try again", path.display())]
    Changed {
        /// The file.
        path: PathBuf,
    },
    /// A folder with more files than a torrent may have.
    #[error("{} holds more than {MAX_FILES} files: put them into an archive", path.display())]
    TooManyFiles {
        /// The folder.
        path: PathBuf,
    },
    /// Reading the content failed.
    #[error("reading {} failed", path.display())]
    Read {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl TorrentError {
    /// Its stable code, in kebab case.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::TooLarge { .. } => "torrent-too-large",
            Self::Bencode(e) => e.code(),
            Self::Invalid { code, .. } => code,
            Self::Name { .. } => "torrent-name",
            Self::PieceLength(_) => "torrent-piece-length",
            Self::Empty { .. } => "content-empty",
            Self::Kind { .. } => "content-kind",
            Self::Changed { .. } => "content-changed",
            Self::TooManyFiles { .. } => "content-too-many-files",
            Self::Read { .. } => "content-unreadable",
        }
    }
}

/// Untrusted text for an error message: short and printable.
fn printable(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes)
        .chars()
        .take(60)
        .map(|c| if c.is_control() || is_invisible(c) { '\u{fffd}' } else { c })
        .collect()
}

/// Whether `name` can be one component of a path on every system that reads torrents.
fn is_plain_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 255
        && name != "."
        && name != ".."
        && !name.contains(|c: char| matches!(c, '/' | '\\') || c.is_control() || is_invisible(c))
}

#[cfg(test)]
mod tests;
