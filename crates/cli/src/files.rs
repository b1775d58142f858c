//! Reads and writes files that the operator names, with the path in every failure.

use std::fs::File;
use std::io::{self, ErrorKind, Read as _};
use std::path::{MAIN_SEPARATOR, Path};

use fleet_types::Digest;
use service_kit::durable::{self, DurableError};
use sha2::{Digest as _, Sha256};

use crate::failure::Failure;
use crate::output::progress;

/// Read size, in bytes.
const CHUNK: usize = 256 * 1024;
/// Length of the file that shows whether one can be created, in bytes: longer than any token.
const PROBE: usize = 4096;

/// Opens a file; returns it with its length.
pub(crate) fn open(path: &Path) -> Result<(File, u64), Failure> {
    let file = File::open(path).map_err(Failure::read(path))?;
    let length = file.metadata().map_err(Failure::read(path))?.len();
    Ok((file, length))
}

/// Refuses a file that exists or cannot be created, before the server is asked for the secret that goes into it.
pub(crate) fn must_be_new(path: &Path) -> Result<(), Failure> {
    if path.symlink_metadata().is_err() {
        return can_create(path);
    }
    let sentence = format!("{} exists already", path.display());
    Err(Failure::said(sentence, "Name a new file, or remove this one if its secret is not needed any more."))
}

/// Refuses a path where a file cannot be created, by creating another one in its folder.
pub(crate) fn can_create(path: &Path) -> Result<(), Failure> {
    if path.is_dir() || path.as_os_str().as_encoded_bytes().ends_with(&[MAIN_SEPARATOR as u8]) {
        let sentence = format!("Cannot create {}: it is a folder", path.display());
        return Err(Failure::said(sentence, "Give the path of a file."));
    }
    let probe = folder_of(path).join(format!(".filial-{}.probe", std::process::id()));
    let written = durable::write_secret_file(&probe, &[0; PROBE]);
    let _ = std::fs::remove_file(&probe);
    written.map_err(|error| not_durable(path, error))
}

/// Writes a file as a whole.
pub(crate) fn save(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    durable::write_file(path, bytes).map_err(|error| not_durable(path, error))
}

/// Writes a file as a whole, readable by its owner only.
pub(crate) fn save_secret(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    durable::write_secret_file(path, bytes).map_err(|error| not_durable(path, error))
}

/// Names the operator's file: the error names a temporary file beside it.
fn not_durable(path: &Path, error: DurableError) -> Failure {
    match error {
        DurableError::NoFileName(_) => {
            Failure::said(format!("{} is not the path of a file", path.display()), "Give the path of a file.")
        }
        DurableError::Write { source, .. }
        | DurableError::Rename { source, .. }
        | DurableError::SyncFolder { source, .. } => not_created(path, source),
    }
}

/// Says why a file cannot be created, with what is wrong with its folder.
pub(crate) fn not_created(path: &Path, source: io::Error) -> Failure {
    let folder = folder_of(path).display();
    let (why, remedy) = match source.kind() {
        ErrorKind::NotFound => {
            (format!("the folder {folder} does not exist"), "Create the folder, or give another path.")
        }
        ErrorKind::NotADirectory => (format!("{folder} is not a folder"), "Give a path in a folder."),
        ErrorKind::PermissionDenied => {
            (format!("you may not write to the folder {folder}"), "Give a path in a folder of yours.")
        }
        ErrorKind::ReadOnlyFilesystem => {
            (format!("the folder {folder} is read-only"), "Give a path in another folder.")
        }
        _ => return Failure::Write { path: path.to_owned(), source },
    };
    Failure::said(format!("Cannot create {}: {why}", path.display()), remedy)
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
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
