//! Reads metadata and proposals from folders and files.

use std::path::{Path, PathBuf};

use chrono::{DateTime, SubsecRound as _, Utc};
use serde_json::Value;
use service_kit::{Clock as _, SystemClock};
use trust::repository::{MAX_PROPOSAL, Proposal, Repository, RoleName, store};
use trust::{Refusal, SigningKey};

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
    let bytes = read_bounded(path, MAX_PROPOSAL)?;
    let is_like_one =
        serde_json::from_slice::<Value>(&bytes).is_ok_and(|v| v["role"].is_string() && v["signed"].is_object());
    if !is_like_one && bytes.len() as u64 <= MAX_PROPOSAL {
        let sentence = format!("{} is not a proposal", path.display());
        return Err(Failure::said(
            sentence,
            "Give the file that `filial trust propose` or `filial release sign` wrote.",
        ));
    }
    let named = |refusal: Refusal| Refusal::new(refusal.why(), format!("{}: {}", path.display(), refusal.sentence()));
    Ok(Proposal::parse(&bytes).map_err(named)?)
}

/// Signs a proposal, unless the key does not hold its role.
pub(super) fn sign(proposal: &mut Proposal, key: &Path) -> Result<(), Failure> {
    let signing = SigningKey::read(key)?;
    if !proposal.may_be_signed_by(signing.public().id()) {
        return Err(not_a_holder(key, proposal.role()));
    }
    Ok(proposal.sign(&signing)?)
}

pub(super) fn not_a_holder(key: &Path, role: &RoleName) -> Failure {
    let sentence = format!("The key {} does not hold role {role}", key.display());
    Failure::said(sentence, "Use a key of a holder: `filial trust inspect` lists them.")
}
