//! Making torrents in one streaming pass.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use fleet_types::Digest;
use sha2::{Digest as _, Sha256};

use super::{
    Created, MAX_FILES, MAX_PIECE_LENGTH, MAX_TORRENT_LEN, MIN_PIECE_LENGTH, Torrent, TorrentError, TorrentFile,
    is_plain_name, parse, piece_length_for, printable, sha1,
};
use crate::bencode::{self, Writer};

/// Makes the torrent of the file at `path` under the name `name`, reading the file once. `piece_length` is that of
/// [`piece_length_for`] unless given; `progress` hears the bytes read so far.
///
/// # Errors
/// If the file cannot be read, is empty, changes meanwhile, or the name or piece length is impossible.
pub fn create(
    path: &Path,
    name: &str,
    piece_length: Option<u32>,
    progress: &mut dyn FnMut(u64),
) -> Result<Created, TorrentError> {
    let length = regular_length(path)?;
    let content = vec![(path.to_owned(), TorrentFile { path: Vec::new(), length, padding: false })];
    let mut sha256 = Sha256::new();
    let torrent = build(path, name, false, content, piece_length, &mut sha256, progress)?;
    Ok(Created { torrent, sha256: Digest::new(sha256.finalize().into()) })
}

/// Makes the torrent of a file or of a folder with everything in it, in order of names.
///
/// # Errors
/// As [`create`]; a folder with symbolic links or other things that are neither files nor folders is refused.
pub fn create_any(
    path: &Path,
    name: &str,
    piece_length: Option<u32>,
    progress: &mut dyn FnMut(u64),
) -> Result<Torrent, TorrentError> {
    let read = |source| TorrentError::Read { path: path.to_owned(), source };
    if !fs::metadata(path).map_err(read)?.is_dir() {
        return create(path, name, piece_length, progress).map(|created| created.torrent);
    }
    let mut content = Vec::new();
    collect(path, path, &mut Vec::new(), &mut content)?;
    // By components, so that the order does not depend on how a path is spelled.
    content.sort_by(|(_, a), (_, b)| a.path.cmp(&b.path));
    build(path, name, true, content, piece_length, &mut Sha256::new(), progress)
}

fn regular_length(path: &Path) -> Result<u64, TorrentError> {
    let metadata = fs::metadata(path).map_err(|source| TorrentError::Read { path: path.to_owned(), source })?;
    match (metadata.is_file(), metadata.is_dir()) {
        (true, _) => Ok(metadata.len()),
        (_, true) => Err(TorrentError::Kind { path: path.to_owned(), found: "a folder" }),
        _ => Err(TorrentError::Kind { path: path.to_owned(), found: "a device or the like" }),
    }
}

/// Adds the files below `folder` to `content`; `below` is its path from `root`.
fn collect(
    root: &Path,
    folder: &Path,
    below: &mut Vec<String>,
    content: &mut Vec<(PathBuf, TorrentFile)>,
) -> Result<(), TorrentError> {
    let read = |source| TorrentError::Read { path: folder.to_owned(), source };
    for entry in fs::read_dir(folder).map_err(read)? {
        let entry = entry.map_err(read)?;
        let path = entry.path();
        let kind = entry.file_type().map_err(read)?;
        let name = entry.file_name();
        let Some(name) = name.to_str().filter(|name| is_plain_name(name)) else {
            return Err(TorrentError::Name { name: printable(name.as_encoded_bytes()) });
        };
        below.push(name.to_owned());
        if kind.is_dir() {
            if below.len() > 60 {
                return Err(TorrentError::Kind { path, found: "nested too deeply" });
            }
            collect(root, &path, below, content)?;
        } else if kind.is_file() {
            if content.len() >= MAX_FILES {
                return Err(TorrentError::TooManyFiles { path: root.to_owned() });
            }
            let length = regular_length(&path)?;
            content.push((path, TorrentFile { path: below.clone(), length, padding: false }));
        } else {
            return Err(TorrentError::Kind { path, found: "neither a file nor a folder" });
        }
        below.pop();
    }
    Ok(())
}

fn build(
    root: &Path,
    name: &str,
    folder: bool,
    content: Vec<(PathBuf, TorrentFile)>,
    piece_length: Option<u32>,
    sha256: &mut Sha256,
    progress: &mut dyn FnMut(u64),
) -> Result<Torrent, TorrentError> {
    if !is_plain_name(name) {
        return Err(TorrentError::Name { name: printable(name.as_bytes()) });
    }
    let length: u64 = content.iter().map(|(_, file)| file.length).sum();
    if length == 0 {
        return Err(TorrentError::Empty { path: root.to_owned() });
    }
    let piece_length = piece_length.unwrap_or_else(|| piece_length_for(length));
    if !piece_length.is_power_of_two() || !(MIN_PIECE_LENGTH..=MAX_PIECE_LENGTH).contains(&piece_length) {
        return Err(TorrentError::PieceLength(piece_length));
    }
    // Refused before the long read, not after it.
    let table = length.div_ceil(u64::from(piece_length)).saturating_mul(20);
    if table > MAX_TORRENT_LEN as u64 / 2 {
        return Err(TorrentError::TooLarge { length: table });
    }
    let pieces = hash_pieces(&content, piece_length as usize, sha256, progress)?;
    let files: Vec<TorrentFile> = content.into_iter().map(|(_, file)| file).collect();
    let info = write_info(name, folder.then_some(files.as_slice()), length, piece_length, &pieces);
    if info.len() > MAX_TORRENT_LEN / 2 {
        return Err(TorrentError::TooLarge { length: info.len() as u64 });
    }
    // Through the reader: what we make is by construction what we accept.
    parse::from_info(&bencode::parse(&info)?, &info)
}

/// SHA-1 of every piece of the files one after the other.
fn hash_pieces(
    content: &[(PathBuf, TorrentFile)],
    piece_length: usize,
    sha256: &mut Sha256,
    progress: &mut dyn FnMut(u64),
) -> Result<Vec<u8>, TorrentError> {
    let mut piece = Vec::with_capacity(piece_length);
    let mut hashes = Vec::new();
    let mut done = 0;
    for (path, expected) in content {
        let read = |source| TorrentError::Read { path: path.clone(), source };
        let mut file = File::open(path).map_err(read)?;
        let mut left = expected.length;
        while left > 0 {
            let start = piece.len();
            let want = left.min((piece_length - start) as u64);
            // One piece at a time, never the file: `take` bounds it, whatever is appended meanwhile.
            let got = (&mut file).take(want).read_to_end(&mut piece).map_err(read)? as u64;
            if got < want {
                return Err(TorrentError::Changed { path: path.clone() });
            }
            sha256.update(piece.get(start..).unwrap_or_default());
            left -= got;
            done += got;
            if piece.len() == piece_length {
                hashes.extend_from_slice(&sha1(&piece));
                piece.clear();
                progress(done);
            }
        }
        unchanged(&file, path, expected.length)?;
    }
    if !piece.is_empty() {
        hashes.extend_from_slice(&sha1(&piece));
        progress(done);
    }
    Ok(hashes)
}

fn unchanged(file: &File, path: &Path, length: u64) -> Result<(), TorrentError> {
    let now = file.metadata().map_err(|source: io::Error| TorrentError::Read { path: path.to_owned(), source })?;
    if now.len() == length { Ok(()) } else { Err(TorrentError::Changed { path: path.to_owned() }) }
}

fn write_info(name: &str, files: Option<&[TorrentFile]>, length: u64, piece_length: u32, pieces: &[u8]) -> Vec<u8> {
    let mut w = Writer::with_capacity(pieces.len() + 256);
    w.dict();
    match files {
        Some(files) => {
            w.text("files").list();
            for file in files {
                w.dict().text("length").integer(file.length).text("path").list();
                file.path.iter().for_each(|name| {
                    w.text(name);
                });
                w.end().end();
            }
            w.end();
        }
        None => {
            w.text("length").integer(length);
        }
    }
    w.text("name").text(name).text("piece length").integer(u64::from(piece_length));
    w.text("pieces").bytes(pieces).text("private").integer(1).end();
    w.finish()
}
