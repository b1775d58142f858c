//! Bounds on reading archives.

use crate::path::MAX_PATH_LEN;

/// Bounds for [`crate::scan`]. Everything that the sender controls has one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Longest archive in bytes.
    pub max_archive_bytes: u64,
    /// Most members, extension records included.
    pub max_members: u64,
    /// Longest `release.toml` in bytes.
    pub max_manifest_bytes: u64,
    /// Longest extension record (GNU long name, PAX header) in bytes.
    pub max_extension_bytes: u64,
    /// Most zero bytes after the end mark: `tar` fills up its last record.
    pub max_fill_bytes: u64,
}

impl Limits {
    /// Longest path of a member in bytes; the same for every archive, because programs store it.
    pub const MAX_PATH_BYTES: usize = MAX_PATH_LEN;
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_archive_bytes: 1 << 40,
            max_members: 1_000,
            max_manifest_bytes: 256 * 1024,
            max_extension_bytes: 64 * 1024,
            max_fill_bytes: 1024 * 1024,
        }
    }
}
