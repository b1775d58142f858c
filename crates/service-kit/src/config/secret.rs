//! Files that hold a secret: passwords and tokens, read only if other users cannot.

use std::fs::File;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use super::{ConfigError, text_of};
use crate::Secret;

/// Reads a secret from a file, without the line end. Blocking.
///
/// # Errors
/// It cannot be read, is too large, is empty, or other users can access it.
pub fn read_secret_file(path: &Path) -> Result<Secret, ConfigError> {
    let file = File::open(path).map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
    check_private(path, &file)?;
    let text = text_of(path, file)?;
    let text = text.trim_end_matches(['\r', '\n']);
    if text.is_empty() {
        return Err(ConfigError::NoSecret(path.to_owned()));
    }
    Ok(Secret::new(text))
}

/// Checks that only the owner can access an open file, or that root has given a group leave to read it.
///
/// The rule is libpq's for key files (PostgreSQL manual, `sslkey`). What is no regular file passes: a pipe has one reader,
/// and standard input is what the caller's shell made of it.
///
/// # Errors
/// Other users can read or write it.
pub fn check_private(path: &Path, file: &File) -> Result<(), ConfigError> {
    let found = file.metadata().map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
    let others = if found.uid() == 0 { 0o037 } else { 0o077 };
    if !found.is_file() || found.mode() & others == 0 || path == Path::new("/dev/stdin") {
        return Ok(());
    }
    // Root looks at files that another user's program reads: only the mode is wrong there.
    let (user, shown) = (rustix::process::geteuid(), quoted(path));
    let remedy = if user.is_root() || found.uid() == user.as_raw() {
        format!("chmod 600 {shown}")
    } else {
        format!("chown {} {shown} && chmod 600 {shown}", user.as_raw())
    };
    Err(ConfigError::Exposed { path: path.to_owned(), mode: found.mode() & 0o777, remedy })
}

/// The path as an argument of a POSIX shell.
fn quoted(path: &Path) -> String {
    let shown = path.display().to_string();
    let plain = |c: char| c.is_alphanumeric() || "/._-+@%:,".contains(c);
    if shown.chars().all(plain) { shown } else { format!("'{}'", shown.replace('\'', r"'\''")) }
}

/// [`check_private`] of a file that need not be there yet. Blocking.
///
/// # Errors
/// Other users can read or write it.
pub fn check_private_if_present(path: &Path) -> Result<(), ConfigError> {
    // One that this user cannot open is named by the program that uses it.
    File::open(path).map_or(Ok(()), |file| check_private(path, &file))
}

#[cfg(test)]
mod tests {
    use std::fs::{Permissions, set_permissions};
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn write(file: &Path, content: impl AsRef<[u8]>) {
        test_kit::write_secret(file, content).unwrap();
    }

    #[test]
    fn secrets_lose_their_line_end_and_may_not_be_empty() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("s");
        write(&file, "hunter2\n");
        assert_eq!(read_secret_file(&file).unwrap().expose(), "hunter2");
        // As an editor of Windows saves it.
        write(&file, "\u{feff}hunter2\r\n");
        assert_eq!(read_secret_file(&file).unwrap().expose(), "hunter2");
        write(&file, "\u{feff}\r\n");
        assert!(matches!(read_secret_file(&file), Err(ConfigError::NoSecret(_))));
        write(&file, "\n");
        let refused = read_secret_file(&file).unwrap_err().to_string();
        assert_eq!(refused, format!("The file {} is empty: write the secret into it", file.display()));
        write(&file, b"\xff\xfe\x00");
        let refused = read_secret_file(&file).unwrap_err();
        assert!(
            refused.to_string().contains("is not text") && std::error::Error::source(&refused).is_none(),
            "{refused}"
        );
    }

    #[test]
    fn a_secret_that_other_users_can_access_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("s");
        write(&file, "hunter2\n");
        let read_as = |mode: u32| {
            set_permissions(&file, Permissions::from_mode(mode)).unwrap();
            read_secret_file(&file)
        };
        for mode in [0o604, 0o602, 0o620, 0o601, 0o777] {
            let refused = read_as(mode).unwrap_err().to_string();
            let remedy = format!("run `chmod 600 {}`", file.display());
            assert!(refused.contains(&format!("(mode {mode:o})")) && refused.ends_with(&remedy), "{refused}");
        }
        for mode in [0o600, 0o400] {
            assert_eq!(read_as(mode).unwrap().expose(), "hunter2");
        }
        // Root gives a service's group leave to read; other owners would give it to everybody of their group.
        let by_root = rustix::process::geteuid().is_root();
        assert_eq!(read_as(0o640).is_ok(), by_root);
        if by_root {
            std::os::unix::fs::chown(&file, Some(64_001), None).unwrap();
            let refused = read_as(0o640).unwrap_err().to_string();
            // The owner is the user of the program that root looks after: only the mode is wrong.
            assert!(refused.ends_with(&format!("run `chmod 600 {}`", file.display())), "{refused}");
            assert!(check_private_if_present(&file).is_err());
        }
        assert!(check_private_if_present(&dir.path().join("none")).is_ok());
        assert_eq!(quoted(Path::new("/etc/my secret's")), r"'/etc/my secret'\''s'");
    }
}
