//! Why packing failed.

use std::io;
use std::path::PathBuf;

use crate::manifest::ManifestError;

/// Why packing failed.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    /// The source holds no manifest.
    #[error("Cannot read {path}: give a folder that contains release.toml, or the file itself")]
    Manifest {
        /// Where it was looked for.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The manifest is longer than is read.
    #[error("{path} is longer than {limit} bytes: shorten it")]
    LongManifest {
        /// The manifest.
        path: PathBuf,
        /// The limit.
        limit: u64,
    },
    /// The manifest is not in order.
    #[error("{path} is not valid: correct it and pack again")]
    BadManifest {
        /// The manifest.
        path: PathBuf,
        /// Why not.
        #[source]
        source: ManifestError,
    },
    /// A payload's file cannot be read.
    #[error("Cannot read {path}, the file of payload {payload}: correct `file` in release.toml or create the file")]
    Source {
        /// The file.
        path: PathBuf,
        /// The payload.
        payload: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// A payload's file is a link, a folder or a device.
    #[error("{path}, the file of payload {payload}, is a {kind}: replace it with a regular file")]
    NotFile {
        /// The file.
        path: PathBuf,
        /// The payload.
        payload: String,
        /// What it is.
        kind: &'static str,
    },
    /// The manifest states something that the file is not.
    #[error(
        "{path} has {field} {found}, but release.toml states {stated}: correct {field}, or omit it to have it filled in"
    )]
    NotAsStated {
        /// The file.
        path: PathBuf,
        /// `size` or `sha256`.
        field: &'static str,
        /// What the file has.
        found: String,
        /// What the manifest says.
        stated: String,
    },
    /// A file changed while it was packed.
    #[error("{path} changed while it was packed: stop what writes to it and pack again")]
    Changed {
        /// The file.
        path: PathBuf,
    },
    /// The archive would replace one of its own payloads.
    #[error("{path} is a payload of the release itself: write the archive elsewhere")]
    OutIsSource {
        /// The file.
        path: PathBuf,
    },
    /// A path that does not fit a tar header.
    #[error("The path {path} is too long for a tar header: shorten `file` of payload {payload} to 100 bytes")]
    LongPath {
        /// The path.
        path: String,
        /// The payload.
        payload: String,
    },
    /// The archive cannot be written.
    #[error("Cannot write {path}: check that its folder exists and has free space")]
    Write {
        /// The archive.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
}
