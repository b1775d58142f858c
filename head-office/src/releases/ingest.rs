//! From an archive to a checklist: one streaming pass, then the rules with what the database knows of the fleet.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

use chrono::{DateTime, Utc};
use fleet_types::ReleaseState;
use release::{External, Facts, Policy, Scan};
use service_kit::database::{DatabaseError, GenericClient};
use uuid::Uuid;
use wire::v1::plan::PayloadRef;

use super::gate::{self, Judged};
use super::moves::{MoveError, advance};
use super::{facts, signing};
use crate::db;
use crate::db::payloads::NewPayload;
use crate::db::releases::Judged as JudgedRow;
use crate::trust::Trust;

/// Reads the archive once.
///
/// Blocking. `progress` hears the bytes read; `cancelled` stops it with an error.
///
/// # Errors
/// The file cannot be read, or it was cancelled.
pub fn scan(
    archive: &Path,
    policy: &Policy,
    progress: &mut dyn FnMut(u64),
    cancelled: &dyn Fn() -> bool,
) -> io::Result<Scan> {
    let reader = BufReader::with_capacity(1 << 20, Cancellable { file: File::open(archive)?, cancelled });
    release::scan(reader, &policy.limits(), progress)
}

struct Cancellable<'a> {
    file: File,
    cancelled: &'a dyn Fn() -> bool,
}

impl Read for Cancellable<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if (self.cancelled)() { Err(io::Error::other("cancelled")) } else { self.file.read(buf) }
    }
}

/// Judges a scanned archive and moves its release on from `validating`.
///
/// In the transaction `c`, with the answer of the shop's own command. Returns the new state; none if it was judged
/// before.
///
/// # Errors
/// The database failed.
pub async fn judge<C: GenericClient>(
    c: &C,
    id: Uuid,
    scan: &Scan,
    external: Option<External>,
    policy: &Policy,
    trust: &Trust,
    now: DateTime<Utc>,
) -> Result<Option<ReleaseState>, MoveError> {
    let Some(release) = db::releases::lock(c, id).await? else { return Ok(None) };
    if release.state != ReleaseState::Validating {
        return Ok(None);
    }
    let manifest = scan.manifest();
    if let Some(manifest) = manifest {
        // Two archives of one version judged at once would both find it free.
        db::releases::lock_product(c, &manifest.product).await?;
    }
    let signs = manifest.zip(scan.manifest.as_ref()).map(|(m, read)| signing::of_manifest(m, read.sha256));
    let keys = manifest.zip(signs.as_ref()).map(|(m, payloads)| trust.release_keys(&m.product, payloads));
    let facts = Facts { release_keys: keys, ..facts::gather(c, scan, external, now).await? };
    let report = release::evaluate(scan, &facts, policy);
    let read = scan.manifest.as_ref();
    let judged = JudgedRow {
        product: manifest.map(|m| &m.product),
        version: manifest.map(|m| &m.version),
        manifest: read.map(|m| m.bytes.as_slice()),
        manifest_sha256: read.map(|m| m.sha256),
        report: &report,
    };
    db::releases::set_judged(c, id, &judged).await?;
    let waits = match (gate::judged(&report), manifest.zip(signs)) {
        (Judged::Rejected(reason), _) => {
            advance(c, &release, ReleaseState::Rejected, &[reason], now).await?;
            return Ok(Some(ReleaseState::Rejected));
        }
        // Without a manifest some rule failed.
        (Judged::Open { .. }, None) => return Ok(None),
        (Judged::Open { to_accept }, Some((manifest, payloads))) => {
            store_payloads(c, id, scan).await?;
            let signed = signing::so_far(trust, &manifest.product, &payloads, None);
            gate::reasons_to_wait(to_accept, &signed)
        }
    };
    let to = if waits.is_empty() { ReleaseState::Approved } else { ReleaseState::AwaitingSignature };
    advance(c, &release, to, &waits, now).await?;
    Ok(Some(to))
}

async fn store_payloads<C: GenericClient>(c: &C, id: Uuid, scan: &Scan) -> Result<(), DatabaseError> {
    for (position, (payload, member)) in scan.payloads().enumerate() {
        // A release that passed has a file for each payload: `archive-shape` and `digests` see to it.
        let Some(member) = member else { continue };
        let reference = PayloadRef { name: payload.name.to_string(), sha256: payload.sha256, length: payload.size };
        let new = NewPayload {
            position: i32::try_from(position).unwrap_or(i32::MAX),
            kind: payload.kind.as_str(),
            compatible: &payload.compatible,
            archive_offset: member.offset,
            payload: &reference,
        };
        db::payloads::insert(c, id, &new).await?;
    }
    Ok(())
}
