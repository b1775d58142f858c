//! Which pieces a torrent held when it was last synced. Everything here blocks.
//!
//! The file is believed only if it is whole, and the content's files are exactly as they were when it was written. In all other
//! cases the content is hashed again, so a stale or damaged file costs time and never correctness.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use service_kit::durable::{DurableError, write_file};
use sha2::{Digest as _, Sha256};

const MAGIC: &[u8; 16] = b"filial-pieces-1\n";
const SUM: usize = 32;

/// Writes the pieces that are on disk for certain. `identity` is the content's after it was synced.
///
/// # Errors
/// The file cannot be written.
pub(crate) fn store(path: &Path, identity: &[u8; 32], bits: &[u8]) -> Result<(), DurableError> {
    let mut bytes = Vec::with_capacity(MAGIC.len() + 2 * SUM + bits.len());
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(identity);
    bytes.extend_from_slice(bits);
    bytes.extend_from_slice(&Sha256::digest(&bytes));
    write_file(path, &bytes)
}

/// Reads the pieces of a torrent whose bitfield has `length` bytes. `None`: absent, damaged, or written for other content.
pub(crate) fn load(path: &Path, identity: &[u8; 32], length: usize) -> Option<Vec<u8>> {
    let expected = MAGIC.len() + 2 * SUM + length;
    let mut bytes = Vec::new();
    File::open(path).ok()?.take(expected as u64 + 1).read_to_end(&mut bytes).ok()?;
    if bytes.len() != expected {
        return None;
    }
    let (content, sum) = bytes.split_at_checked(expected - SUM)?;
    let (magic, content_identity) = content.get(..MAGIC.len() + SUM)?.split_at_checked(MAGIC.len())?;
    let same = magic == MAGIC && content_identity == identity && sum == Sha256::digest(content).as_slice();
    same.then(|| content.get(MAGIC.len() + SUM..).map(<[u8]>::to_vec))?
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    #[test]
    fn what_was_stored_is_loaded_and_nothing_else_is_believed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.pieces");
        let (identity, bits) = ([7; 32], [0xf0, 0x80]);
        assert_eq!(load(&path, &identity, 2), None, "absent");
        store(&path, &identity, &bits).unwrap();
        assert_eq!(load(&path, &identity, 2).unwrap(), bits);
        assert_eq!(load(&path, &[8; 32], 2), None, "other content");
        assert_eq!(load(&path, &identity, 3), None, "another torrent");

        let whole = std::fs::read(&path).unwrap();
        for at in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[at] ^= 1;
            File::create(&path).unwrap().write_all(&damaged).unwrap();
            assert_eq!(load(&path, &identity, 2), None, "byte {at}");
            File::create(&path).unwrap().write_all(&whole[..at]).unwrap();
            assert_eq!(load(&path, &identity, 2), None, "cut at {at}");
        }
        File::create(&path).unwrap().write_all(&[whole, vec![0]].concat()).unwrap();
        assert_eq!(load(&path, &identity, 2), None, "longer");
    }
}
