//! Reads untrusted torrent files.

use std::collections::BTreeSet;

use fleet_types::InfoHash;

use super::{
    MAX_FILES, MAX_FOREIGN_PIECE_LENGTH, MAX_TORRENT_LEN, MIN_PIECE_LENGTH, Torrent, TorrentError, TorrentFile,
    is_plain_name, printable, sha1,
};
use crate::bencode::{self, Node};

/// How many trackers are kept, and how long a tracker's address may be: more is noise or an attack.
const MAX_TRACKERS: usize = 64;
const MAX_TRACKER_LEN: usize = 2048;

const fn invalid(code: &'static str, why: &'static str) -> TorrentError {
    TorrentError::Invalid { code, why }
}

impl Torrent {
    /// Reads an untrusted torrent file.
    ///
    /// # Errors
    /// If it is larger than [`MAX_TORRENT_LEN`], not canonical bencode, or describes content whose lengths, names or
    /// pieces contradict each other or could leave their folder.
    pub fn parse(bytes: &[u8]) -> Result<Self, TorrentError> {
        if bytes.len() > MAX_TORRENT_LEN {
            return Err(TorrentError::TooLarge { length: bytes.len() as u64 });
        }
        let root = bencode::parse(bytes)?;
        if !root.is_dict() {
            return Err(invalid("torrent-not-dictionary", "it is not a dictionary"));
        }
        let info = root
            .get("info")
            .filter(|info| info.is_dict())
            .ok_or(invalid("torrent-no-info", "it has no info dictionary"))?;
        let original = bytes.get(info.span.clone()).ok_or(invalid("torrent-no-info", "it has no info dictionary"))?;
        let mut torrent = from_info(info, original)?;
        torrent.tiers = tiers(&root)?;
        Ok(torrent)
    }
}

/// Checks the info dictionary `info`, which stands as `original` in the file.
pub(super) fn from_info(info: &Node<'_>, original: &[u8]) -> Result<Torrent, TorrentError> {
    match info.get("meta version").map(Node::integer) {
        None | Some(Some(1)) => {}
        // A hybrid: its v1 keys describe the same content, and its v1 info hash is over the same bytes.
        Some(Some(2)) if info.get("pieces").is_some() => {}
        Some(Some(2)) => {
            return Err(invalid(
                "torrent-version-2",
                "it is of BitTorrent version 2 alone; make it again as version 1 or as a hybrid of both",
            ));
        }
        Some(_) => return Err(invalid("torrent-version", "its BitTorrent version is unknown; make it as version 1")),
    }
    let piece_length = info
        .get("piece length")
        .and_then(Node::integer)
        .and_then(|n| u32::try_from(n).ok())
        .filter(|n| n.is_power_of_two() && (MIN_PIECE_LENGTH..=MAX_FOREIGN_PIECE_LENGTH).contains(n))
        .ok_or(invalid("torrent-piece-length", "its piece length is missing, out of range or not a power of two"))?;
    let name = plain_name(info.get("name").ok_or(invalid("torrent-no-name", "it has no name"))?)?;
    let (files, folder) = content(info)?;
    padded(&files, piece_length)?;
    let length = files
        .iter()
        .try_fold(0u64, |sum, file| sum.checked_add(file.length))
        .filter(|length| (1..=i64::MAX as u64).contains(length))
        .ok_or(invalid("torrent-length", "the length of its content is zero or impossible"))?;
    let hashes = info.get("pieces").and_then(Node::bytes).ok_or(invalid("torrent-no-pieces", "it has no pieces"))?;
    let (pieces, rest) = hashes.as_chunks::<20>();
    if !rest.is_empty() || pieces.len() as u64 != length.div_ceil(u64::from(piece_length)) {
        return Err(invalid("torrent-piece-count", "the number of its pieces does not follow from its length"));
    }
    Ok(Torrent {
        info: original.to_vec(),
        hash: InfoHash::new(sha1(original)),
        name,
        piece_length,
        pieces: pieces.to_vec(),
        files,
        folder,
        private: info.get("private").and_then(Node::integer) == Some(1),
        length,
        tiers: Vec::new(),
    })
}

/// The files, and whether they lie in a folder.
fn content(info: &Node<'_>) -> Result<(Vec<TorrentFile>, bool), TorrentError> {
    match (info.get("length"), info.get("files")) {
        (Some(length), None) => {
            Ok((vec![TorrentFile { path: Vec::new(), length: file_length(Some(length))?, padding: false }], false))
        }
        (None, Some(files)) => {
            let files = files.list().ok_or(invalid("torrent-files", "its files are not a list"))?;
            if files.is_empty() || files.len() > MAX_FILES {
                return Err(invalid("torrent-file-count", "it has no files, or too many"));
            }
            let files: Vec<_> = files.iter().map(file).collect::<Result<_, _>>()?;
            distinct(&files)?;
            Ok((files, true))
        }
        _ => Err(invalid("torrent-length-or-files", "it must have either a length or files")),
    }
}

fn file(node: &Node<'_>) -> Result<TorrentFile, TorrentError> {
    let path = node.get("path").and_then(Node::list).ok_or(invalid("torrent-file-path", "a file has no path"))?;
    if path.is_empty() || path.len() > 64 {
        return Err(invalid("torrent-file-path", "a file's path is empty or too deep"));
    }
    let path = path.iter().map(plain_name).collect::<Result<_, _>>()?;
    let padding = node.get("attr").and_then(Node::bytes).is_some_and(|attributes| attributes.contains(&b'p'));
    Ok(TorrentFile { path, length: file_length(node.get("length"))?, padding })
}

fn file_length(node: Option<&Node<'_>>) -> Result<u64, TorrentError> {
    node.and_then(Node::integer)
        .and_then(|n| u64::try_from(n).ok())
        .ok_or(invalid("torrent-file-length", "a file's length is missing or negative"))
}

fn plain_name(node: &Node<'_>) -> Result<String, TorrentError> {
    match node.text() {
        Some(name) if is_plain_name(name) => Ok(name.to_owned()),
        _ => Err(TorrentError::Name { name: printable(node.bytes().unwrap_or_default()) }),
    }
}

/// No path twice, and none that is a file here and a folder there.
///
/// Padding files of the same length share a path (BEP 47).
fn distinct(files: &[TorrentFile]) -> Result<(), TorrentError> {
    let files: Vec<_> = files.iter().filter(|file| !file.padding).collect();
    let paths: BTreeSet<&[String]> = files.iter().map(|file| file.path.as_slice()).collect();
    let within =
        |file: &&TorrentFile| (1..file.path.len()).any(|n| file.path.get(..n).is_some_and(|p| paths.contains(p)));
    if paths.len() != files.len() || files.iter().any(within) {
        return Err(invalid(
            "torrent-same-path",
            "two of its files have the same path, or one is the folder of another",
        ));
    }
    Ok(())
}

/// Padding fills one piece up (BEP 47). More of it would have a verification hash zeros without end.
fn padded(files: &[TorrentFile], piece_length: u32) -> Result<(), TorrentError> {
    let pads = |file: &TorrentFile| file.padding && file.length > 0;
    let too_long = files.iter().any(|file| pads(file) && file.length >= u64::from(piece_length));
    if too_long || files.windows(2).any(|pair| pair.iter().all(pads)) {
        return Err(invalid("torrent-padding", "its padding is longer than what a piece lacks"));
    }
    Ok(())
}

/// The tiers of BEP 12; without them, the one tracker of BEP 3.
fn tiers(root: &Node<'_>) -> Result<Vec<Vec<String>>, TorrentError> {
    let mut count = 0;
    let mut tracker = |node: &Node<'_>| {
        count += 1;
        node.text()
            .filter(|url| count <= MAX_TRACKERS && url.len() <= MAX_TRACKER_LEN && !url.contains(char::is_control))
            .map(str::to_owned)
            .ok_or(invalid(
                "torrent-trackers",
                "a tracker's address is not text or is too long, or there are too many trackers",
            ))
    };
    let listed = root.get("announce-list").and_then(Node::list).unwrap_or_default();
    let mut tiers = Vec::new();
    for tier in listed.iter().filter_map(Node::list).filter(|tier| !tier.is_empty()) {
        tiers.push(tier.iter().map(&mut tracker).collect::<Result<Vec<_>, _>>()?);
    }
    if tiers.is_empty()
        && let Some(announce) = root.get("announce")
    {
        tiers.push(vec![tracker(announce)?]);
    }
    Ok(tiers)
}
