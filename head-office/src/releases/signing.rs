//! Who vouches for a release. Head office's own keys when it publishes (online), or release keys elsewhere, whose signatures
//! are posted one file after the other; a release goes on when they are enough and its warnings were accepted,
//! in either order.
//!
//! Posted signatures are rows until they are enough. Then the metadata takes them first, and the database the release's next
//! state after that: a kill in between leaves a release that waits although it is signed, which the next look mends.

use chrono::{DateTime, Utc};
use fleet_types::{Digest, ProductName, ReleaseState, Version};
use release::Manifest;
use service_kit::database::{DatabaseError, GenericClient};
use trust::repository::{Proposal, SignedArtifact, SignedPayload};
use trust::{Refusal, Why};
use wire::v1::releases::Signatures;
use wire::{Reason, ReasonCode};

use super::gate::{self, Judged, Signed};
use super::moves::{MoveError, advance};
use crate::db;
use crate::db::payloads::PayloadRow;
use crate::db::releases::ReleaseRow;
use crate::trust::{OtherRelease, Standing, Trust, TrustError};

/// Why signatures were not taken, or a release did not go on.
#[derive(Debug, thiserror::Error)]
pub enum SigningError {
    /// What was posted is for something else.
    #[error(transparent)]
    Other(#[from] OtherRelease),
    /// What was posted cannot be used.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The metadata could not be published.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// The release did not move.
    #[error(transparent)]
    Move(#[from] MoveError),
}

impl From<DatabaseError> for SigningError {
    fn from(error: DatabaseError) -> Self {
        Self::Move(error.into())
    }
}

/// What release keys sign of a manifest with this digest.
pub fn of_manifest(manifest: &Manifest, sha256: Digest) -> Vec<SignedPayload> {
    let payload = |p: &release::Payload| SignedPayload {
        product: manifest.product.clone(),
        version: manifest.version.clone(),
        payload: p.name.to_string(),
        manifest: sha256,
        sha256: p.sha256,
        length: p.size,
    };
    manifest.payloads.iter().map(payload).collect()
}

/// What release keys sign of a release that was judged.
///
/// Nothing of one whose manifest was not read.
pub fn of_rows(release: &ReleaseRow, rows: &[PayloadRow]) -> Vec<SignedPayload> {
    let (Some(product), Some(version), Some(manifest)) = (&release.product, &release.version, release.manifest) else {
        return Vec::new();
    };
    rows.iter().map(|row| of_row(product, version, manifest, row)).collect()
}

/// What release keys sign of one payload of a release.
pub fn of_row(product: &ProductName, version: &Version, manifest: Digest, row: &PayloadRow) -> SignedPayload {
    SignedPayload {
        product: product.clone(),
        version: version.clone(),
        payload: row.payload.name.clone(),
        manifest,
        sha256: row.payload.sha256,
        length: row.payload.length,
    }
}

/// What head office signs of a payload that was encoded; nothing before.
pub fn artifact_of(row: &PayloadRow) -> Option<SignedArtifact> {
    row.artifact.as_ref().map(|artifact| SignedArtifact {
        payload: row.payload.sha256,
        sha256: artifact.sha256,
        length: artifact.length,
        index_sha256: artifact.index_sha256,
        index_length: artifact.index_length,
        info_hash: artifact.info_hash,
    })
}

/// What release keys sign of this release.
///
/// # Errors
/// The database failed.
pub async fn of_release<C: GenericClient>(c: &C, release: &ReleaseRow) -> Result<Vec<SignedPayload>, DatabaseError> {
    Ok(of_rows(release, &db::payloads::of_releases(c, &[release.id]).await?))
}

/// How far the signatures of a release are, with what was posted of them.
pub fn so_far(trust: &Trust, product: &ProductName, payloads: &[SignedPayload], posted: Option<&Signatures>) -> Signed {
    match trust.standing(payloads) {
        Standing::Signed => Signed::InForce,
        Standing::Otherwise => Signed::Otherwise,
        Standing::Unsigned if trust.signs(product) => Signed::ByHeadOffice,
        Standing::Unsigned => {
            let threshold = trust.threshold(product).unwrap_or(1);
            Signed::Posted { product: product.clone(), threshold, missing: posted.map_or(threshold, |p| p.missing) }
        }
    }
}

/// Stores the signatures that a proposal brings for a release.
///
/// The transaction `c` holds the release.
///
/// # Errors
/// It is for something else, not signed by a holder of the role, or made against metadata that moved on.
pub async fn take<C: GenericClient>(
    c: &C,
    trust: &Trust,
    release: &ReleaseRow,
    mut proposal: Proposal,
    now: DateTime<Utc>,
) -> Result<Signatures, SigningError> {
    let payloads = of_release(c, release).await?;
    let brought = trust.judge(&proposal, &payloads, now)??;
    if brought.signed_by.is_empty() {
        let text = format!("No holder of role {} signed the file.", proposal.role());
        return Err(Refusal::new(Why::ProposalUnknownKey, text).into());
    }
    proposal.keep_signatures_of(&brought.signed_by);
    if let Some(kept) = db::signatures::proposal(c, release.id).await? {
        let mut kept = Proposal::parse(&kept)?;
        // What was made against metadata that moved on gives way.
        if trust.judge(&kept, &payloads, now).is_ok_and(|judged| judged.is_ok()) {
            kept.merge(&proposal)?;
            proposal = kept;
        }
    }
    let state = trust.judge(&proposal, &payloads, now)??;
    let threshold = release.product.as_ref().and_then(|product| trust.threshold(product)).unwrap_or(1);
    let state = Signatures { signed_by: state.signed_by.into_iter().collect(), threshold, missing: state.missing };
    db::signatures::set(c, release.id, &proposal.to_bytes()?, &state, now).await?;
    Ok(state)
}

/// Lets a release go on that waits, if nothing keeps it any more.
///
/// Otherwise its reason says what does. The transaction `c` holds it. The state it is in then.
///
/// # Errors
/// The metadata could not be published, or the database failed.
pub async fn settle<C: GenericClient>(
    c: &C,
    trust: &Trust,
    release: &ReleaseRow,
    now: DateTime<Utc>,
) -> Result<ReleaseState, SigningError> {
    let Some(product) = release.product.as_ref().filter(|_| release.state == ReleaseState::AwaitingSignature) else {
        return Ok(release.state);
    };
    let payloads = of_release(c, release).await?;
    let mut posted = db::signatures::of_releases(c, &[release.id]).await?.remove(&release.id);
    let again = match &posted {
        Some(_) => outdated(c, trust, release, &payloads, now).await?,
        None => None,
    };
    if again.is_some() {
        db::signatures::remove(c, release.id).await?;
        posted = None;
    }
    let signed = so_far(trust, product, &payloads, posted.as_ref());
    let to_accept = if release.accepted { Vec::new() } else { to_accept(release) };
    let unsigned = matches!(signed, Signed::Posted { missing: 1.., .. });
    let mut reasons = gate::reasons_to_wait(to_accept, &signed);
    if reasons.is_empty() {
        if let (Signed::Posted { .. }, Some(kept)) = (signed, db::signatures::proposal(c, release.id).await?) {
            trust.accept(Proposal::parse(&kept)?, payloads, now).await?;
        }
        advance(c, release, ReleaseState::Approved, &[], now).await?;
        return Ok(ReleaseState::Approved);
    }
    // Why it must be signed again stands behind what is missing, until something changes.
    let told = release.reasons == reasons
        || unsigned
            && release
                .reasons
                .strip_prefix(reasons.as_slice())
                .is_some_and(|rest| rest.iter().all(|r| r.code == ReasonCode::SignaturesOutdated));
    if again.is_some() || !told {
        reasons.extend(again);
        db::releases::set_reasons(c, release.id, &reasons).await?;
    }
    Ok(release.state)
}

/// Why the signatures that were posted cannot be used any more, if they cannot.
///
/// Another release of the product came first, the role has other holders now, or they expired.
async fn outdated<C: GenericClient>(
    c: &C,
    trust: &Trust,
    release: &ReleaseRow,
    payloads: &[SignedPayload],
    now: DateTime<Utc>,
) -> Result<Option<Reason>, SigningError> {
    if trust.standing(payloads) != Standing::Unsigned {
        return Ok(None);
    }
    let Some(kept) = db::signatures::proposal(c, release.id).await? else { return Ok(None) };
    let why = match trust.judge(&Proposal::parse(&kept)?, payloads, now) {
        Ok(Ok(_)) => return Ok(None),
        Ok(Err(other)) => other.to_string(),
        Err(refusal) => format!("{} {}", refusal.sentence(), refusal.remedy()),
    };
    Ok(Some(Reason::new(ReasonCode::SignaturesOutdated, why)))
}

/// What must be accepted of a release, whether or not it was.
pub fn to_accept(release: &ReleaseRow) -> Vec<Reason> {
    match release.report.as_ref().map(gate::judged) {
        None => Vec::new(),
        Some(Judged::Open { to_accept }) => to_accept,
        Some(Judged::Rejected(reason)) => vec![reason],
    }
}
