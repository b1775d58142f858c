//! Secret files as a careful person makes them.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// Writes a file that only its owner can read, as the programs demand of passwords and tokens.
///
/// # Errors
/// It cannot be written.
pub fn write_secret(path: &Path, bytes: impl AsRef<[u8]>) -> std::io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600).open(path)?.write_all(bytes.as_ref())
}
