//! Reads files that the operator names, with the path in every failure.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use fleet_types::Digest;
use sha2::{Digest as _, Sha256};

use crate::failure::Failure;
use crate::output::progress;

/// Read size, in bytes.
const CHUNK: usize = 256 * 1024;

/// Opens a file; returns it with its length.
pub(crate) fn open(path: &Path) -> Result<(File, u64), Failure> {
    let file = File::open(path).map_err(Failure::read(path))?;
    let length = file.metadata().map_err(Failure::read(path))?.len();
    Ok((file, length))
}

/// Refuses a file that exists, before the server is asked for the secret that goes into it.
pub(crate) fn must_be_new(path: &Path) -> Result<(), Failure> {
    if path.symlink_metadata().is_err() {
        return Ok(());
    }
    let sentence = format!("{} exists already", path.display());
    Err(Failure::said(sentence, "Name a new file, or remove this one if its secret is not needed any more."))
}

/// Reads at most `max` bytes and one more, which tells the caller that a file is too long.
pub(crate) fn read_bounded(path: &Path, max: u64) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let (file, _) = open(path)?;
    file.take(max + 1).read_to_end(&mut bytes).map_err(Failure::read(path))?;
    Ok(bytes)
}

/// Returns the SHA-256 of an open file; shows a progress bar unless `quiet`.
pub(crate) fn digest(mut file: File, path: &Path, length: u64, quiet: bool) -> Result<Digest, Failure> {
    let bar = progress::bytes("reading", length, quiet);
    let mut hash = Sha256::new();
    let mut chunk = vec![0; CHUNK];
    loop {
        let got = file.read(&mut chunk).map_err(Failure::read(path))?;
        if got == 0 {
            break;
        }
        hash.update(&chunk[..got]);
        bar.inc(got as u64);
    }
    bar.finish_and_clear();
    Ok(Digest::new(hash.finalize().into()))
}
