//! What the rules ask of several tables at once: counted and bounded in SQL, so that a large fleet stays small here.

use fleet_types::{ModelName, ProductName, Version};
use release::{BranchStore, Running, RunningVersion, StoreRoom};
use service_kit::database::{DatabaseError, GenericClient, query, query_one, query_opt};
use tokio_postgres::Row;
use uuid::Uuid;

use super::row::{get, text, text_opt, unsigned};

/// Most versions of the fleet that are looked at one by one.
const MAX_VERSIONS: i64 = 1000;
/// Most branches whose stores are looked at.
const MAX_BRANCHES: i64 = 10_000;
/// Most published releases of a product that are looked at, newest first.
const MAX_PUBLISHED: i64 = 1000;

service_kit::statements! {
    // A terminal concerns a product if it has the model, and does not run another product for all that is known.
    RUNNING = "SELECT t.version, count(*) AS terminals, sum(count(*)) OVER ()::bigint AS in_all,
            (array_agg(t.branch || '/' || t.name ORDER BY t.branch, t.name))[1:8] AS some
        FROM terminals t
        WHERE t.denied_at IS NULL AND t.model = ANY($1) AND $2 = coalesce((SELECT u.product FROM updates u WHERE u.branch = t.branch
            AND u.terminal = t.name AND u.state = 'confirmed' ORDER BY u.id DESC LIMIT 1), $2)
        GROUP BY t.version ORDER BY terminals DESC, t.version LIMIT $3";
    STORES = "SELECT t.branch, array_agg(DISTINCT t.model) AS models, min(s.capacity_bytes) AS capacity_bytes,
            min(s.free_bytes) AS free_bytes
        FROM terminals t LEFT JOIN branch_stores s ON s.branch = t.branch
        WHERE t.model = ANY($1) AND $2 = coalesce((SELECT u.product FROM updates u WHERE u.branch = t.branch
            AND u.terminal = t.name AND u.state = 'confirmed' ORDER BY u.id DESC LIMIT 1), $2)
        GROUP BY t.branch ORDER BY t.branch LIMIT $3";
    PUBLISHED = "SELECT id, version FROM releases WHERE product = $1 AND state = 'published'
        ORDER BY created_at DESC, id LIMIT $2";
    MANIFEST = "SELECT manifest FROM releases WHERE id = $1";
    PAYLOAD_BYTES = "SELECT coalesce(sum(length), 0)::bigint AS bytes FROM payloads WHERE release_id = $1";
}

fn names(models: &[ModelName]) -> Vec<&str> {
    models.iter().map(ModelName::as_str).collect()
}

/// What the terminals run that have one of `models` and do not run another product.
///
/// # Errors
/// As every statement.
pub async fn running<C: GenericClient>(
    c: &C,
    models: &[ModelName],
    product: &ProductName,
) -> Result<Running, DatabaseError> {
    let rows = query(c, RUNNING, &[&names(models), &product.as_str(), &MAX_VERSIONS]).await?;
    let in_all = rows.first().map_or(Ok(0), |row| unsigned(row, "in_all"))?;
    let versions = rows.iter().map(running_version).collect::<Result<Vec<_>, _>>()?;
    let listed: u64 = versions.iter().map(|v| v.terminals).sum();
    Ok(Running { versions, beyond: in_all.saturating_sub(listed) })
}

fn running_version(row: &Row) -> Result<RunningVersion, DatabaseError> {
    let some: Vec<String> = get(row, "some")?;
    let some = some.iter().map(|t| t.parse().map_err(|e| DatabaseError::value("some", e))).collect::<Result<_, _>>()?;
    Ok(RunningVersion { version: text_opt(row, "version")?, terminals: unsigned(row, "terminals")?, some })
}

/// The branches of those terminals with their stores.
///
/// None if they are more than can be looked at.
///
/// # Errors
/// As every statement.
pub async fn stores<C: GenericClient>(
    c: &C,
    models: &[ModelName],
    product: &ProductName,
) -> Result<Option<Vec<BranchStore>>, DatabaseError> {
    let rows = query(c, STORES, &[&names(models), &product.as_str(), &(MAX_BRANCHES + 1)]).await?;
    if i64::try_from(rows.len()).is_ok_and(|found| found > MAX_BRANCHES) {
        return Ok(None);
    }
    rows.iter().map(store).collect::<Result<_, _>>().map(Some)
}

fn store(row: &Row) -> Result<BranchStore, DatabaseError> {
    let models: Vec<String> = get(row, "models")?;
    let models = models
        .into_iter()
        .map(|m| ModelName::try_from(m).map_err(|e| DatabaseError::value("models", e)))
        .collect::<Result<_, _>>()?;
    let reported: Option<i64> = get(row, "capacity_bytes")?;
    let room = match reported {
        None => None,
        Some(_) => Some(StoreRoom {
            capacity_bytes: unsigned(row, "capacity_bytes")?,
            free_bytes: unsigned(row, "free_bytes")?,
        }),
    };
    Ok(BranchStore { branch: text(row, "branch")?, models, room })
}

/// The published releases of a product, newest first.
///
/// # Errors
/// As every statement.
pub async fn published<C: GenericClient>(c: &C, product: &ProductName) -> Result<Vec<(Uuid, Version)>, DatabaseError> {
    let rows = query(c, PUBLISHED, &[&product.as_str(), &MAX_PUBLISHED]).await?;
    rows.iter().map(|row| Ok((get(row, "id")?, text(row, "version")?))).collect()
}

/// The bytes of a release's manifest.
///
/// # Errors
/// As every statement.
pub async fn manifest<C: GenericClient>(c: &C, release: Uuid) -> Result<Option<Vec<u8>>, DatabaseError> {
    let row = query_opt(c, MANIFEST, &[&release]).await?;
    Ok(row.as_ref().map(|row| get(row, "manifest")).transpose()?.flatten())
}

/// The length of a release's payloads in all.
///
/// # Errors
/// As every statement.
pub async fn payload_bytes<C: GenericClient>(c: &C, release: Uuid) -> Result<u64, DatabaseError> {
    unsigned(&query_one(c, PAYLOAD_BYTES, &[&release]).await?, "bytes")
}
