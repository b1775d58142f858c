//! Secret files: regular, small, and accessible to their owner only.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use service_kit::Secret;

use crate::refusal::{Refusal, Why, refuse};

/// Largest key file that is read, in bytes. A PKCS#8 PEM of an ed25519 key has about 120.
pub const MAX_KEY_FILE: u64 = 4096;

/// Reads a file that holds a secret.
///
/// A plain file of at most [`MAX_KEY_FILE`] bytes that only its owner can read. Blocking.
///
/// # Errors
/// It is something else, or others can read or write it.
pub fn read_secret(path: &Path) -> Result<Secret, Refusal> {
    let unreadable = |e: std::io::Error| {
        Refusal::new(Why::KeyFileUnreadable, format!("Cannot read the key file {}: {e}.", path.display()))
    };
    // A named pipe would otherwise hold us up for ever.
    let flags = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let mut file = OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(unreadable)?;
    check_owner_only(path, &file)?;
    let mut text = String::new();
    let read = (&mut file).take(MAX_KEY_FILE + 1).read_to_string(&mut text);
    read.map_err(|_| Refusal::new(Why::NotAKey, format!("The key file {} is not text.", path.display())))?;
    if text.len() as u64 > MAX_KEY_FILE {
        let sentence = format!("The key file {} is larger than {MAX_KEY_FILE} bytes.", path.display());
        return refuse(Why::TooLarge, sentence);
    }
    Ok(Secret::new(text))
}

fn check_owner_only(path: &Path, file: &File) -> Result<(), Refusal> {
    let found = file.metadata().map_err(|e| {
        Refusal::new(Why::KeyFileUnreadable, format!("Cannot read the key file {}: {e}.", path.display()))
    })?;
    if !found.is_file() {
        return refuse(Why::KeyFileExposed, format!("{} is not a regular file.", path.display()));
    }
    if found.mode() & 0o077 != 0 {
        let mode = found.mode() & 0o777;
        return refuse(
            Why::KeyFileExposed,
            format!("Other users can access the key file {} (mode {mode:o}).", path.display()),
        );
    }
    Ok(())
}

/// Writes a secret into a new file, mode 0600, synced with its folder. Blocking.
///
/// # Errors
/// The file exists or cannot be written; then nothing of it stays.
pub fn write_new_secret(path: &Path, secret: &Secret) -> Result<(), Refusal> {
    let opened = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    let mut file = opened.map_err(|e| match e.kind() {
        std::io::ErrorKind::AlreadyExists => {
            Refusal::new(Why::KeyFileExists, format!("{} already exists.", path.display()))
        }
        _ => Refusal::new(Why::Storage, format!("Cannot write {}: {e}.", path.display())),
    })?;
    let written = file.write_all(secret.expose().as_bytes()).and_then(|()| file.sync_all()).and_then(|()| {
        let folder = path.parent().filter(|f| !f.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(folder)?.sync_all()
    });
    written.map_err(|e| {
        let _ = std::fs::remove_file(path);
        Refusal::new(Why::Storage, format!("Cannot write {}: {e}.", path.display()))
    })
}
