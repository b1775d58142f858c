//! Releases as operators see them.

use std::collections::HashMap;

use fleet_types::ReleaseState;
use service_kit::database::{DatabaseError, GenericClient};
use uuid::Uuid;
use wire::v1::releases::{Release, ReleasePayload, Signatures};

use crate::db;
use crate::db::releases::ReleaseRow;
use crate::releases::uploads;
use crate::store::folders::Store;

/// One release.
///
/// # Errors
/// The database failed.
pub async fn view<C: GenericClient>(c: &C, store: &Store, row: ReleaseRow) -> Result<Release, DatabaseError> {
    let payloads = db::payloads::of_releases(c, &[row.id]).await?;
    let payloads = payloads.into_iter().map(|p| ReleasePayload { payload: p.payload, artifact: p.artifact }).collect();
    let signatures = db::signatures::of_releases(c, &[row.id]).await?.remove(&row.id);
    Ok(release(store, row, payloads, signatures).await)
}

/// Some releases, in the order given.
///
/// # Errors
/// The database failed.
pub async fn view_all<C: GenericClient>(
    c: &C,
    store: &Store,
    rows: Vec<ReleaseRow>,
) -> Result<Vec<Release>, DatabaseError> {
    let ids: Vec<Uuid> = rows.iter().map(|r| r.id).collect();
    let mut payloads: HashMap<Uuid, Vec<ReleasePayload>> = HashMap::new();
    for row in db::payloads::of_releases(c, &ids).await? {
        payloads.entry(row.release).or_default().push(ReleasePayload { payload: row.payload, artifact: row.artifact });
    }
    let mut signatures = db::signatures::of_releases(c, &ids).await?;
    let mut releases = Vec::with_capacity(rows.len());
    for row in rows {
        let (payloads, signatures) = (payloads.remove(&row.id).unwrap_or_default(), signatures.remove(&row.id));
        releases.push(release(store, row, payloads, signatures).await);
    }
    Ok(releases)
}

async fn release(
    store: &Store,
    row: ReleaseRow,
    payloads: Vec<ReleasePayload>,
    signatures: Option<Signatures>,
) -> Release {
    let received_bytes = match row.state {
        // Not synced: this figure is for people. The offset that an upload continues at is.
        ReleaseState::Uploading => uploads::length(&store.upload(row.id)).await.min(row.archive_bytes),
        _ => row.archive_bytes,
    };
    Release {
        id: row.id,
        product: row.product,
        version: row.version,
        state: row.state,
        reasons: row.reasons,
        file_name: row.file_name,
        archive_bytes: row.archive_bytes,
        received_bytes,
        manifest: row.manifest,
        report: row.report,
        signatures,
        payloads,
        progress: row.progress,
        created: row.created,
        changed: row.changed,
    }
}
