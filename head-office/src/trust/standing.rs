//! What the metadata in force says of a release, and whether a proposal is for that release. No I/O, no clock.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use trust::repository::{Proposal, Repository, RoleName, SignatureState, SignedPayload};
use trust::{Refusal, Why};

/// Whether the release keys vouch for a release.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Nothing is signed of this version.
    Unsigned,
    /// Exactly this release.
    Signed,
    /// Something else as this version.
    Otherwise,
}

/// A proposal signs something else than the release that it was posted for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct OtherRelease(String);

/// What is in force of the version that `payloads` belong to. Without payloads nothing is.
pub(super) fn of(repository: &Repository, payloads: &[SignedPayload]) -> Standing {
    let Some(first) = payloads.first() else { return Standing::Unsigned };
    // Metadata that was accepted can be read; if it could not, nothing may count as signed.
    let all = repository.payloads().unwrap_or_default();
    let signed: BTreeSet<&SignedPayload> =
        all.iter().filter(|p| p.product == first.product && p.version == first.version).collect();
    match (signed.is_empty(), signed == payloads.iter().collect()) {
        (true, _) => Standing::Unsigned,
        (_, true) => Standing::Signed,
        _ => Standing::Otherwise,
    }
}

/// See [`super::Trust::judge`].
pub(super) fn judge(
    repository: &Repository,
    proposal: &Proposal,
    payloads: &[SignedPayload],
    now: DateTime<Utc>,
) -> Result<Result<SignatureState, OtherRelease>, Refusal> {
    let Some(first) = payloads.first() else {
        return Ok(Err(OtherRelease("The release has no payloads to sign.".to_owned())));
    };
    let role = RoleName::Product(first.product.clone());
    if *proposal.role() != role {
        let text = format!("The file is for role {}, the release is {role}'s.", proposal.role());
        return Ok(Err(OtherRelease(text)));
    }
    let change = repository.difference(proposal)?;
    if let Some(gone) = change.removed.first() {
        let text = format!("The file takes {} {} away as well.", gone.product, gone.version);
        return Ok(Err(OtherRelease(text)));
    }
    if !change.added.iter().eq(payloads.iter().collect::<BTreeSet<_>>()) {
        return Ok(Err(OtherRelease(difference(&change.added, payloads))));
    }
    if proposal.expires() <= now {
        let text = format!("What the file says expired {}.", proposal.expires());
        return Err(Refusal::new(Why::MetadataExpired, text));
    }
    Ok(Ok(repository.signature_state(proposal)?))
}

/// How what is signed differs from what was uploaded, in one sentence.
fn difference(signed: &BTreeSet<SignedPayload>, uploaded: &[SignedPayload]) -> String {
    for payload in uploaded {
        let same = |p: &&SignedPayload| p.version == payload.version && p.payload == payload.payload;
        match signed.iter().find(same) {
            Some(other) if other.sha256 != payload.sha256 => {
                return format!(
                    "The file signs payload {} of {} with SHA-256 {}, the archive's has {}.",
                    payload.payload,
                    payload.version,
                    other.sha256.short(),
                    payload.sha256.short()
                );
            }
            Some(other) if other.manifest != payload.manifest => {
                return format!(
                    "The file signs {} with the manifest {}, the archive has {}.",
                    payload.version,
                    other.manifest.short(),
                    payload.manifest.short()
                );
            }
            Some(_) => {}
            None => return format!("The file does not sign payload {} of {}.", payload.payload, payload.version),
        }
    }
    "The file signs more than this release.".to_owned()
}
