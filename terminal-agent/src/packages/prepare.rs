//! Manifest, index and torrent of a package: fetched, checked against the plan and this machine, kept.

use artifact::Index;
use release::PayloadKind;
use wire::ReasonCode;
use wire::v1::reports::Reason;

use crate::branch::fetch::{Unfit, fetch_files, fetch_manifest, fits_data, keep_files, planned_payload};
use crate::config::agent::Settings;
use crate::model::package::Package;
use crate::model::update::Retry;
use crate::ports::Ports;
use crate::swarm::files::{ArtifactFiles, check_index};

/// Fetches, checks and keeps everything that unpacking needs.
///
/// # Errors
/// One of them did not arrive, or the package does not fit this terminal.
pub async fn prepare(ports: &Ports, settings: &Settings, package: &Package) -> Result<(), Unfit> {
    let no = |reason: Reason| Err(Unfit::refused(reason, Retry::NextPlan));
    let manifest = fetch_manifest(ports, &package.manifest).await?;
    let payload = planned_payload(&manifest, (&package.product, &package.version), &package.payload)?;
    if payload.kind != PayloadKind::Package {
        return no(Reason::of(ReasonCode::NotAPackage).with("payload", &payload.name).with("kind", payload.kind));
    }
    let model = &settings.identity.model;
    if !payload.compatible.is_empty() && !payload.compatible.contains(model) {
        return no(Reason::of(ReasonCode::Incompatible).with("payload", &payload.name).with("model", model));
    }
    fits_data(ports, settings, &package.artifact)?;
    let fetched = fetch_files(ports, settings, &package.artifact, &package.payload).await?;
    keep_files(settings, &package.artifact, &fetched)
}

/// The index of a package that was prepared.
///
/// # Errors
/// It is not here any more, or damaged; one sentence.
pub fn read_index(settings: &Settings, package: &Package) -> Result<Index, String> {
    let path = ArtifactFiles::of(settings, &package.artifact).index();
    let bytes = std::fs::read(&path).map_err(|e| format!("cannot read {}: {e}", path.display()))?;
    check_index(&bytes, &package.artifact, &package.payload)
}
