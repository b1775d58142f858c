//! The join token: read to enrol, and deleted once this terminal has an identity that its branch server answers to.

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use fleet_types::Digest;
use service_kit::config::read_secret_file;
use service_kit::durable;
use service_kit::edge::chain;
use trust::Refusal;
use trust::certificates::JoinToken;

use crate::config::agent::Settings;

/// Returns a refusal as one text.
pub(super) fn text_of(refusal: &Refusal) -> String {
    format!("{}: {} {}", refusal.code(), refusal.sentence(), refusal.remedy())
}

/// Reads the join token. Blocking.
///
/// # Errors
/// There is none, or it is not valid; one sentence.
pub fn read(settings: &Settings) -> Result<JoinToken, String> {
    let text = read_secret_file(&settings.branch.join_token_file).map_err(|e| chain(&e))?;
    JoinToken::parse(&text).map_err(|refusal| text_of(&refusal))
}

/// Deletes the join token of this authority, which has certified this terminal. Blocking.
///
/// The token of another authority stays: the fleet is being set up again. One that cannot be deleted, or lies on a medium that may serve
/// other machines too, is logged.
pub fn delete_used(settings: &Settings, authority: &Digest) {
    if !read(settings).is_ok_and(|token| token.authority == *authority) {
        return;
    }
    let file = &settings.branch.join_token_file;
    match delete(file, &settings.paths.state_dir) {
        Ok(()) => tracing::info!(file = %file.display(), "the join token is deleted: this terminal is enrolled"),
        Err(error) => {
            tracing::warn!(file = %file.display(), %error, "the join token stays, and is not needed any more: delete it");
        }
    }
}

/// Deletes a file of this machine, durably. A link stays, and what it names goes.
fn delete(file: &Path, state: &Path) -> io::Result<()> {
    let file = file.canonicalize()?;
    let device = |path: &Path| path.metadata().map(|m| m.dev());
    let own = [device(state)?, device(Path::new("/"))?];
    if !own.contains(&device(&file)?) {
        return Err(io::Error::other("it is on another file system than the agent's state"));
    }
    std::fs::remove_file(&file)?;
    durable::sync_dir(file.parent().unwrap_or(Path::new("/"))).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn link_to_a_join_token_leads_to_the_file_that_is_deleted() {
        let dir = tempfile::tempdir().unwrap();
        let (file, link) = (dir.path().join("file"), dir.path().join("link"));
        test_kit::write_secret(&file, "t").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        delete(&link, dir.path()).unwrap();
        assert!(!file.exists() && link.is_symlink());
        assert!(delete(&link, dir.path()).is_err());
    }

    #[test]
    fn join_token_on_another_file_system_is_left() {
        let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir_in("/dev/shm").unwrap());
        let file = other.path().join("join-token");
        test_kit::write_secret(&file, "t").unwrap();
        let error = delete(&file, dir.path()).unwrap_err().to_string();
        assert!(file.exists() && error.contains("another file system"), "{error}");
    }
}
