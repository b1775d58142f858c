//! Reads metadata and proposals from folders and files.

use std::path::{Path, PathBuf};

use chrono::{DateTime, SubsecRound as _, Utc};
use service_kit::{Clock as _, SystemClock};
use trust::repository::{MAX_PROPOSAL, Proposal, Repository, store};

use crate::failure::Failure;
use crate::files::read_bounded;

/// The time in whole seconds, the resolution of metadata.
pub(super) fn now() -> DateTime<Utc> {
    SystemClock.now().trunc_subsecs(0)
}

/// The folder with the metadata: the given one, or `metadata/` below it.
pub(super) fn metadata(folder: &Path) -> PathBuf {
    let inner = folder.join("metadata");
    if inner.is_dir() { inner } else { folder.to_owned() }
}

/// Reads the metadata in or below a folder.
pub(super) fn read(folder: &Path) -> Result<Repository, Failure> {
    let place = metadata(folder);
    if !place.join("1.root.json").is_file() {
        let sentence = format!("{} has no metadata: 1.root.json is missing", place.display());
        let remedy = "Give the folder made by `filial trust init`, or head office's metadata folder.";
        return Err(Failure::said(sentence, remedy));
    }
    Ok(store::read(&place)?)
}

/// Reads a proposal.
pub(crate) fn read_proposal(path: &Path) -> Result<Proposal, Failure> {
    Ok(Proposal::parse(&read_bounded(path, MAX_PROPOSAL)?)?)
}
