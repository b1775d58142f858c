//! Table `payloads`.

use std::collections::{BTreeMap, HashSet};

use fleet_types::{Digest, ModelName, ProductName, Version};
use service_kit::database::{DatabaseError, GenericClient, execute, query};
use tokio_postgres::Row;
use uuid::Uuid;
use wire::v1::plan::{ArtifactRef, PayloadRef};

use super::row::{get, signed, text, text_opt, unsigned};

service_kit::statements! {
    INSERT = "INSERT INTO payloads (release_id, position, name, kind, compatible, archive_offset, length, sha256)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";
    OF_RELEASES = "SELECT p.release_id, p.name, p.kind, p.compatible, p.archive_offset, p.length, p.sha256,
            p.artifact_sha256, a.length AS artifact_length, a.index_sha256, a.index_length, a.info_hash
        FROM payloads p LEFT JOIN artifacts a ON a.sha256 = p.artifact_sha256
        WHERE p.release_id = ANY($1) ORDER BY p.release_id, p.position";
    TO_ENCODE = "SELECT DISTINCT p.sha256 FROM payloads p JOIN releases r ON r.id = p.release_id
        WHERE p.sha256 = ANY($1) AND r.state IN ('approved', 'publishing')";
    OF_WITHDRAWN = "SELECT p.release_id, p.name, p.sha256 FROM releases r JOIN payloads p ON p.release_id = r.id
        WHERE r.product = $1 AND r.version = $2 AND r.state = 'withdrawn' AND r.published_at IS NOT NULL";
    SET_ARTIFACT = "UPDATE payloads SET artifact_sha256 = $3 WHERE release_id = $1 AND name = $2";
}

/// Returns the payloads by name of each release of a version that was published and withdrawn.
///
/// # Errors
/// As every statement.
pub async fn of_withdrawn<C: GenericClient>(
    c: &C,
    product: &ProductName,
    version: &Version,
) -> Result<Vec<BTreeMap<String, Digest>>, DatabaseError> {
    let mut releases: BTreeMap<Uuid, BTreeMap<String, Digest>> = BTreeMap::new();
    for row in query(c, OF_WITHDRAWN, &[&product.as_str(), &version.to_string()]).await? {
        releases.entry(get(&row, "release_id")?).or_default().insert(get(&row, "name")?, text(&row, "sha256")?);
    }
    Ok(releases.into_values().collect())
}

/// A row with its artifact, once there is one.
#[derive(Debug, Clone)]
pub struct PayloadRow {
    /// The release.
    pub release: Uuid,
    /// `slot-image`, `component-tree` or `package`.
    pub kind: String,
    /// The models it is for.
    pub compatible: Vec<ModelName>,
    /// Where its content begins in the archive, in bytes.
    pub archive_offset: u64,
    /// The payload.
    pub payload: PayloadRef,
    /// Its artifact.
    pub artifact: Option<ArtifactRef>,
}

/// A payload as the manifest has it.
#[expect(missing_docs, reason = "the columns' names")]
pub struct NewPayload<'a> {
    pub position: i32,
    pub kind: &'a str,
    pub compatible: &'a [ModelName],
    pub archive_offset: u64,
    pub payload: &'a PayloadRef,
}

/// Adds a payload of a release.
///
/// # Errors
/// As every statement.
pub async fn insert<C: GenericClient>(c: &C, release: Uuid, new: &NewPayload<'_>) -> Result<(), DatabaseError> {
    let compatible: Vec<&str> = new.compatible.iter().map(ModelName::as_str).collect();
    let (offset, length) = (signed(new.archive_offset), signed(new.payload.length));
    let sha256 = new.payload.sha256.to_string();
    execute(c, INSERT, &[&release, &new.position, &new.payload.name, &new.kind, &compatible, &offset, &length, &sha256])
        .await
        .map(drop)
}

/// The payloads of some releases, in the manifests' order.
///
/// # Errors
/// As every statement.
pub async fn of_releases<C: GenericClient>(c: &C, releases: &[Uuid]) -> Result<Vec<PayloadRow>, DatabaseError> {
    query(c, OF_RELEASES, &[&releases]).await?.iter().map(from_row).collect()
}

/// Those of `payloads` that a release on its way to be published has.
///
/// # Errors
/// As every statement.
pub async fn to_encode<C: GenericClient>(c: &C, payloads: &[Digest]) -> Result<HashSet<Digest>, DatabaseError> {
    let payloads: Vec<String> = payloads.iter().map(ToString::to_string).collect();
    query(c, TO_ENCODE, &[&payloads]).await?.iter().map(|row| text(row, "sha256")).collect()
}

/// The payload's artifact lies in the store.
///
/// # Errors
/// As every statement.
pub async fn set_artifact<C: GenericClient>(
    c: &C,
    release: Uuid,
    name: &str,
    artifact: &Digest,
) -> Result<(), DatabaseError> {
    execute(c, SET_ARTIFACT, &[&release, &name, &artifact.to_string()]).await.map(drop)
}

fn from_row(row: &Row) -> Result<PayloadRow, DatabaseError> {
    let compatible: Vec<String> = get(row, "compatible")?;
    let compatible = compatible
        .into_iter()
        .map(|m| ModelName::try_from(m).map_err(|e| DatabaseError::value("compatible", e)))
        .collect::<Result<_, _>>()?;
    let artifact = match text_opt(row, "artifact_sha256")? {
        Some(sha256) => Some(ArtifactRef {
            sha256,
            length: unsigned(row, "artifact_length")?,
            index_sha256: text(row, "index_sha256")?,
            index_length: unsigned(row, "index_length")?,
            info_hash: text(row, "info_hash")?,
        }),
        None => None,
    };
    Ok(PayloadRow {
        release: get(row, "release_id")?,
        kind: get(row, "kind")?,
        compatible,
        archive_offset: unsigned(row, "archive_offset")?,
        payload: PayloadRef { name: get(row, "name")?, sha256: text(row, "sha256")?, length: unsigned(row, "length")? },
        artifact,
    })
}
