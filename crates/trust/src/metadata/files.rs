//! Reads files under a bound, with the path in every refusal.

use std::io::Read as _;
use std::path::Path;

use crate::refusal::{Refusal, Why, refuse};

/// Reads a file of at most `most` bytes.
pub(crate) fn read_bounded(path: &Path, most: u64) -> Result<Vec<u8>, Refusal> {
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(|e| storage(path, &e))?;
    file.take(most + 1).read_to_end(&mut bytes).map_err(|e| storage(path, &e))?;
    if bytes.len() as u64 > most {
        return refuse(Why::TooLarge, format!("{} is larger than {most} bytes.", path.display()));
    }
    Ok(bytes)
}

pub(crate) fn storage(path: &Path, error: &dyn std::error::Error) -> Refusal {
    Refusal::new(Why::Storage, format!("Cannot use {}: {error}.", path.display()))
}
