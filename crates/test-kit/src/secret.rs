//! Secret files as a careful person makes them.

use std::path::Path;

/// Writes a file that only its owner can read, as the programs demand of passwords and tokens.
pub fn write_secret(path: &Path, bytes: impl AsRef<[u8]>) {
    std::fs::write(path, bytes).unwrap();
    std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
}
