//! The archive to upload.

use std::path::Path;

use fleet_types::Digest;

use crate::failure::Failure;
use crate::files;

/// An update archive on this machine.
pub(crate) struct Archive<'a> {
    pub(super) path: &'a Path,
    pub(super) name: String,
    pub(super) length: u64,
    /// A later call resumes an upload only for the same digest.
    pub(super) sha256: Digest,
}

impl<'a> Archive<'a> {
    /// Reads the file's length and digest.
    pub(super) fn read(path: &'a Path, quiet: bool) -> Result<Self, Failure> {
        let (file, length) = files::open(path)?;
        let is_file = file.metadata().map_err(Failure::read(path))?.is_file();
        if !is_file || length == 0 {
            return Err(Failure::said(
                format!("{} is not an update archive", path.display()),
                "Create one with `filial release pack`.",
            ));
        }
        let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        Ok(Self { path, name, length, sha256: files::digest(file, path, length, quiet)? })
    }
}
