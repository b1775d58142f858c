//! Table `releases`.

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use fleet_types::{Digest, ProductName, ReleaseState, Version};
use service_kit::database::{DatabaseError, GenericClient, execute, query, query_one, query_opt};
use tokio_postgres::Row;
use uuid::Uuid;
use wire::Reason;
use wire::v1::releases::{Progress, Report};

use super::row::{get, json, reasons, reasons_columns, signed, text, text_opt, to_json, unsigned};

service_kit::statements! {
    INSERT = "INSERT INTO releases (id, state, file_name, archive_bytes, created_by, created_at, changed_at,
        touched_at) VALUES ($1, 'uploading', $2, $3, $4, $5, $5, $5)";
    TOUCH = "UPDATE releases SET touched_at = $2 WHERE id = $1";
    TOUCHED = "SELECT touched_at FROM releases WHERE id = $1";
    KNOWN = "SELECT id FROM releases WHERE id = ANY($1)";
    SELECT = "SELECT id, state, reason, reasons, file_name, archive_bytes, product, version, manifest_sha256, report, progress,
        created_at, changed_at, approved_by IS NOT NULL AS accepted FROM releases WHERE id = $1";
    SELECT_FOR_UPDATE = "SELECT id, state, reason, reasons, file_name, archive_bytes, product, version, manifest_sha256, report,
        progress, created_at, changed_at, approved_by IS NOT NULL AS accepted FROM releases WHERE id = $1 FOR UPDATE";
    NEWEST = "SELECT id, state, reason, reasons, file_name, archive_bytes, product, version, manifest_sha256, report, progress,
        created_at, changed_at, approved_by IS NOT NULL AS accepted FROM releases WHERE (created_at, id) < ($1, $2)
        ORDER BY created_at DESC, id DESC LIMIT $3";
    NEWEST_OF_VERSION = "SELECT id, state, reason, reasons, file_name, archive_bytes, product, version, manifest_sha256, report, progress,
        created_at, changed_at, approved_by IS NOT NULL AS accepted FROM releases
        WHERE product = $4 AND version = $5 AND (created_at, id) < ($1, $2) ORDER BY created_at DESC, id DESC LIMIT $3";
    PLACE = "SELECT created_at FROM releases WHERE id = $1";
    COUNT = "SELECT count(*) FROM releases";
    UPLOADING = "SELECT id, archive_bytes, touched_at < $1 AS abandoned FROM releases WHERE state = 'uploading'
        ORDER BY id LIMIT $2";
    ENDED = "SELECT id FROM releases WHERE id = ANY($1) AND state IN ('rejected', 'published', 'withdrawn')";
    PUBLISHED = "SELECT id, state, reason, reasons, file_name, archive_bytes, product, version, manifest_sha256, report,
        progress, created_at, changed_at, approved_by IS NOT NULL AS accepted FROM releases WHERE state = 'published' AND product = $1 AND version = $2
        FOR SHARE";
    SET_STATE = "UPDATE releases SET state = $3, reason = $4, reasons = $6, progress = NULL, changed_at = $5,
        published_at = CASE WHEN $3 = 'published' THEN $5 ELSE published_at END WHERE id = $1 AND state = $2";
    WAITING = "SELECT id FROM releases WHERE state = 'awaiting-signature' ORDER BY changed_at, id LIMIT $1";
    SET_REASONS = "UPDATE releases SET reason = $2, reasons = $3 WHERE id = $1";
    SET_PROGRESS = "UPDATE releases SET progress = $2 WHERE id = $1 AND state IN ('validating', 'publishing')";
    SET_JUDGED = "UPDATE releases SET product = $2, version = $3, manifest = $4, manifest_sha256 = $5, report = $6
        WHERE id = $1";
    SET_REPORT = "UPDATE releases SET report = $2 WHERE id = $1";
    SET_APPROVED = "UPDATE releases SET approved_by = $2, approved_reason = $3 WHERE id = $1";
    SET_WITHDRAWN_BY = "UPDATE releases SET withdrawn_by = $2 WHERE id = $1";
    LOCK_PRODUCT = "SELECT pg_advisory_xact_lock(7001, hashtext($1))";
    TAKEN_VERSIONS = "SELECT version FROM releases WHERE product = $1
        AND state IN ('awaiting-signature', 'approved', 'publishing', 'published')";
    MANIFEST = "SELECT manifest FROM releases WHERE manifest_sha256 = $1 AND state = 'published' LIMIT 1";
    COUNT_BY_STATE = "SELECT state, count(*) FROM releases GROUP BY state";
}

/// A row.
#[derive(Debug, Clone)]
pub struct ReleaseRow {
    /// Its id, also that of its upload.
    pub id: Uuid,
    /// Where it stands.
    pub state: ReleaseState,
    /// Why it stands there, or what it waits for.
    pub reasons: Vec<Reason>,
    /// What the file was called.
    pub file_name: String,
    /// Length of the archive.
    pub archive_bytes: u64,
    /// The product, once the manifest was read.
    pub product: Option<ProductName>,
    /// The version, once the manifest was read.
    pub version: Option<Version>,
    /// Digest of the manifest.
    pub manifest: Option<Digest>,
    /// The checklist.
    pub report: Option<Report>,
    /// What is being done.
    pub progress: Option<Progress>,
    /// When its upload began.
    pub created: DateTime<Utc>,
    /// When its state last changed.
    pub changed: DateTime<Utc>,
    /// Whether its warnings were accepted.
    pub accepted: bool,
}

impl ReleaseRow {
    fn from_row(row: &Row) -> Result<Self, DatabaseError> {
        Ok(Self {
            id: get(row, "id")?,
            state: text(row, "state")?,
            reasons: reasons(row)?,
            file_name: get(row, "file_name")?,
            archive_bytes: unsigned(row, "archive_bytes")?,
            product: text_opt(row, "product")?,
            version: text_opt(row, "version")?,
            manifest: text_opt(row, "manifest_sha256")?,
            report: json(row, "report")?,
            progress: json(row, "progress")?,
            created: get(row, "created_at")?,
            changed: get(row, "changed_at")?,
            accepted: get(row, "accepted")?,
        })
    }
}

/// A new release in state `uploading`.
#[expect(missing_docs, reason = "the columns' names")]
pub struct NewRelease<'a> {
    pub id: Uuid,
    pub file_name: &'a str,
    pub archive_bytes: u64,
    pub created_by: &'a str,
    pub now: DateTime<Utc>,
}

/// Adds a release.
///
/// # Errors
/// As every statement.
pub async fn insert<C: GenericClient>(c: &C, new: &NewRelease<'_>) -> Result<(), DatabaseError> {
    let length = signed(new.archive_bytes);
    execute(c, INSERT, &[&new.id, &new.file_name, &length, &new.created_by, &new.now]).await.map(drop)
}

/// One release.
///
/// # Errors
/// As every statement.
pub async fn find<C: GenericClient>(c: &C, id: Uuid) -> Result<Option<ReleaseRow>, DatabaseError> {
    query_opt(c, SELECT, &[&id]).await?.as_ref().map(ReleaseRow::from_row).transpose()
}

/// One release, held until the transaction ends.
///
/// # Errors
/// As every statement.
pub async fn lock<C: GenericClient>(c: &C, id: Uuid) -> Result<Option<ReleaseRow>, DatabaseError> {
    query_opt(c, SELECT_FOR_UPDATE, &[&id]).await?.as_ref().map(ReleaseRow::from_row).transpose()
}

/// Where a page begins: after this release in the order of lists.
///
/// The start of all without one.
#[derive(Debug, Clone, Copy)]
pub struct After(DateTime<Utc>, Uuid);

impl Default for After {
    fn default() -> Self {
        Self(DateTime::from_timestamp(253_370_764_800, 0).unwrap_or(DateTime::UNIX_EPOCH), Uuid::max())
    }
}

/// The place of a release in the order of lists; none if there is no such release.
///
/// # Errors
/// As every statement.
pub async fn place<C: GenericClient>(c: &C, id: Uuid) -> Result<Option<After>, DatabaseError> {
    query_opt(c, PLACE, &[&id]).await?.map(|row| Ok(After(get(&row, "created_at")?, id))).transpose()
}

/// The `limit` next after `after`, newest first.
///
/// # Errors
/// As every statement.
pub async fn newest<C: GenericClient>(c: &C, after: After, limit: i64) -> Result<Vec<ReleaseRow>, DatabaseError> {
    query(c, NEWEST, &[&after.0, &after.1, &limit]).await?.iter().map(ReleaseRow::from_row).collect()
}

/// [`newest`] of one version of one product: it may have been uploaded several times.
///
/// # Errors
/// As every statement.
pub async fn newest_of_version<C: GenericClient>(
    c: &C,
    product: &ProductName,
    version: &Version,
    after: After,
    limit: i64,
) -> Result<Vec<ReleaseRow>, DatabaseError> {
    let (product, version) = (product.as_str(), version.to_string());
    let rows = query(c, NEWEST_OF_VERSION, &[&after.0, &after.1, &limit, &product, &version]).await?;
    rows.iter().map(ReleaseRow::from_row).collect()
}

/// How many there are.
///
/// # Errors
/// As every statement.
pub async fn count<C: GenericClient>(c: &C) -> Result<u64, DatabaseError> {
    unsigned(&query_one(c, COUNT, &[]).await?, "count")
}

/// An upload that has not ended.
#[derive(Debug, Clone, Copy)]
pub struct UploadRow {
    /// Its release.
    pub id: Uuid,
    /// Length of the archive.
    pub archive_bytes: u64,
    /// Whether it was idle for too long.
    pub abandoned: bool,
}

/// Uploads that have not ended, at most `limit`.
///
/// Abandoned are those that were idle since `before`.
///
/// # Errors
/// As every statement.
pub async fn uploading<C: GenericClient>(
    c: &C,
    before: DateTime<Utc>,
    limit: i64,
) -> Result<Vec<UploadRow>, DatabaseError> {
    let rows = query(c, UPLOADING, &[&before, &limit]).await?;
    rows.iter()
        .map(|row| {
            let archive_bytes = unsigned(row, "archive_bytes")?;
            Ok(UploadRow { id: get(row, "id")?, archive_bytes, abandoned: get(row, "abandoned")? })
        })
        .collect()
}

/// Those of `ids` whose archives are no longer needed.
///
/// # Errors
/// As every statement.
pub async fn ended<C: GenericClient>(c: &C, ids: &[Uuid]) -> Result<Vec<Uuid>, DatabaseError> {
    query(c, ENDED, &[&ids]).await?.iter().map(|row| get(row, "id")).collect()
}

/// The published release of this version, if there is one.
///
/// It stays published until the transaction ends; take it before any branch, as withdrawing does.
///
/// # Errors
/// As every statement.
pub async fn published<C: GenericClient>(
    c: &C,
    product: &ProductName,
    version: &Version,
) -> Result<Option<ReleaseRow>, DatabaseError> {
    let row = query_opt(c, PUBLISHED, &[&product.as_str(), &version.to_string()]).await?;
    row.as_ref().map(ReleaseRow::from_row).transpose()
}

/// Releases that wait for people, at most `limit`, those that wait longest first.
///
/// # Errors
/// As every statement.
pub async fn waiting<C: GenericClient>(c: &C, limit: i64) -> Result<Vec<Uuid>, DatabaseError> {
    query(c, WAITING, &[&limit]).await?.iter().map(|row| get(row, "id")).collect()
}

/// Moves a release from one state to another and clears its progress.
///
/// False if it was not in `from`.
///
/// # Errors
/// As every statement.
pub async fn set_state<C: GenericClient>(
    c: &C,
    id: Uuid,
    from: ReleaseState,
    to: ReleaseState,
    reasons: &[Reason],
    now: DateTime<Utc>,
) -> Result<bool, DatabaseError> {
    let (text, json) = reasons_columns(reasons)?;
    Ok(execute(c, SET_STATE, &[&id, &from.as_str(), &to.as_str(), &text, &now, &json]).await? == 1)
}

/// Says why it stands where it stands.
///
/// # Errors
/// As every statement.
pub async fn set_reasons<C: GenericClient>(c: &C, id: Uuid, reasons: &[Reason]) -> Result<(), DatabaseError> {
    let (text, json) = reasons_columns(reasons)?;
    execute(c, SET_REASONS, &[&id, &text, &json]).await.map(drop)
}

/// Says what is being done.
///
/// False if nothing is to be done any more: the release was withdrawn meanwhile.
///
/// # Errors
/// As every statement.
pub async fn set_progress<C: GenericClient>(
    c: &C,
    id: Uuid,
    progress: Option<&Progress>,
) -> Result<bool, DatabaseError> {
    let progress = progress.map(|p| to_json(p, "progress")).transpose()?;
    Ok(execute(c, SET_PROGRESS, &[&id, &progress]).await? == 1)
}

/// What the pass over the archive found.
#[expect(missing_docs, reason = "the columns' names")]
pub struct Judged<'a> {
    pub product: Option<&'a ProductName>,
    pub version: Option<&'a Version>,
    pub manifest: Option<&'a [u8]>,
    pub manifest_sha256: Option<Digest>,
    pub report: &'a Report,
}

/// Stores the checklist and what the manifest says.
///
/// # Errors
/// As every statement.
pub async fn set_judged<C: GenericClient>(c: &C, id: Uuid, judged: &Judged<'_>) -> Result<(), DatabaseError> {
    let product = judged.product.map(ProductName::as_str);
    let version = judged.version.map(ToString::to_string);
    let digest = judged.manifest_sha256.map(|d| d.to_string());
    let report = to_json(judged.report, "report")?;
    execute(c, SET_JUDGED, &[&id, &product, &version, &judged.manifest, &digest, &report]).await.map(drop)
}

/// Replaces the checklist.
///
/// # Errors
/// As every statement.
pub async fn set_report<C: GenericClient>(c: &C, id: Uuid, report: &Report) -> Result<(), DatabaseError> {
    let report = to_json(report, "report")?;
    execute(c, SET_REPORT, &[&id, &report]).await.map(drop)
}

/// Records who accepted the warnings and why.
///
/// # Errors
/// As every statement.
pub async fn set_approved<C: GenericClient>(c: &C, id: Uuid, by: &str, reason: &str) -> Result<(), DatabaseError> {
    execute(c, SET_APPROVED, &[&id, &by, &reason]).await.map(drop)
}

/// Records who withdrew it.
///
/// # Errors
/// As every statement.
pub async fn set_withdrawn_by<C: GenericClient>(c: &C, id: Uuid, by: &str) -> Result<(), DatabaseError> {
    execute(c, SET_WITHDRAWN_BY, &[&id, &by]).await.map(drop)
}

/// Until the transaction ends, no other transaction judges a release of this product.
///
/// # Errors
/// As every statement.
pub async fn lock_product<C: GenericClient>(c: &C, product: &ProductName) -> Result<(), DatabaseError> {
    query(c, LOCK_PRODUCT, &[&product.as_str()]).await.map(drop)
}

/// The versions of a product that are published or on their way there.
///
/// # Errors
/// As every statement.
pub async fn taken_versions<C: GenericClient>(c: &C, product: &ProductName) -> Result<Vec<Version>, DatabaseError> {
    query(c, TAKEN_VERSIONS, &[&product.as_str()]).await?.iter().map(|row| text(row, "version")).collect()
}

/// The bytes of a published release's manifest.
///
/// # Errors
/// As every statement.
pub async fn manifest<C: GenericClient>(c: &C, sha256: &Digest) -> Result<Option<Vec<u8>>, DatabaseError> {
    query_opt(c, MANIFEST, &[&sha256.to_string()]).await?.as_ref().map(|row| get(row, "manifest")).transpose()
}

/// How many releases are in each state that has any.
///
/// # Errors
/// As every statement.
pub async fn count_by_state<C: GenericClient>(c: &C) -> Result<Vec<(ReleaseState, i64)>, DatabaseError> {
    let rows = query(c, COUNT_BY_STATE, &[]).await?;
    rows.iter().map(|row| Ok((text(row, "state")?, get(row, "count")?))).collect()
}

/// The upload is in use now.
///
/// # Errors
/// As every statement.
pub async fn touch<C: GenericClient>(c: &C, id: Uuid, now: DateTime<Utc>) -> Result<(), DatabaseError> {
    execute(c, TOUCH, &[&id, &now]).await.map(drop)
}

/// When the upload was last in use.
///
/// # Errors
/// As every statement.
pub async fn touched<C: GenericClient>(c: &C, id: Uuid) -> Result<Option<DateTime<Utc>>, DatabaseError> {
    query_opt(c, TOUCHED, &[&id]).await?.as_ref().map(|row| get(row, "touched_at")).transpose()
}

/// Those of `ids` that are releases.
///
/// # Errors
/// As every statement.
pub async fn known<C: GenericClient>(c: &C, ids: &[Uuid]) -> Result<HashSet<Uuid>, DatabaseError> {
    query(c, KNOWN, &[&ids]).await?.iter().map(|row| get(row, "id")).collect()
}
