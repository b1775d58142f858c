//! Table `assignments`.

use chrono::{DateTime, Utc};
use fleet_types::{BranchName, Digest, ProductName, Version};
use service_kit::database::{DatabaseError, GenericClient, execute, query};
use tokio_postgres::Row;
use uuid::Uuid;

use super::row::{get, text};

service_kit::statements! {
    SET = "INSERT INTO assignments (branch, product, release_id, downgrade, assigned_by, assigned_at)
        VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (branch, product)
        DO UPDATE SET release_id = $3, downgrade = $4, assigned_by = $5, assigned_at = $6";
    REMOVE = "DELETE FROM assignments WHERE branch = $1 AND product = $2";
    REMOVE_OF_RELEASE = "DELETE FROM assignments WHERE release_id = $1 RETURNING branch";
    REMOVE_OF_BRANCH = "DELETE FROM assignments WHERE branch = $1";
    OF_BRANCHES = "SELECT a.branch, a.product, a.release_id, a.downgrade, a.assigned_at, r.version, r.manifest_sha256
        FROM assignments a JOIN releases r ON r.id = a.release_id
        WHERE a.branch = ANY($1) AND r.state = 'published' ORDER BY a.branch, a.product";
}

/// An assignment of a published release.
#[derive(Debug, Clone)]
pub struct AssignmentRow {
    /// The branch.
    pub branch: BranchName,
    /// The product.
    pub product: ProductName,
    /// The release.
    pub release: Uuid,
    /// Its version.
    pub version: Version,
    /// Its manifest.
    pub manifest: Digest,
    /// Whether the version may lie below the installed one.
    pub downgrade: bool,
    /// Since when.
    pub at: DateTime<Utc>,
}

fn from_row(row: &Row) -> Result<AssignmentRow, DatabaseError> {
    Ok(AssignmentRow {
        branch: text(row, "branch")?,
        product: text(row, "product")?,
        release: get(row, "release_id")?,
        version: text(row, "version")?,
        manifest: text(row, "manifest_sha256")?,
        downgrade: get(row, "downgrade")?,
        at: get(row, "assigned_at")?,
    })
}

/// From now on `branch` is to run `release` of `product`.
///
/// # Errors
/// As every statement.
pub async fn set<C: GenericClient>(
    c: &C,
    branch: &BranchName,
    product: &ProductName,
    release: Uuid,
    downgrade: bool,
    by: &str,
    now: DateTime<Utc>,
) -> Result<(), DatabaseError> {
    execute(c, SET, &[&branch.as_str(), &product.as_str(), &release, &downgrade, &by, &now]).await.map(drop)
}

/// From now on nothing is said about what `branch` runs of `product`. False if nothing was.
///
/// # Errors
/// As every statement.
pub async fn remove<C: GenericClient>(
    c: &C,
    branch: &BranchName,
    product: &ProductName,
) -> Result<bool, DatabaseError> {
    Ok(execute(c, REMOVE, &[&branch.as_str(), &product.as_str()]).await? == 1)
}

/// Ends every assignment of a release; the branches that had one, by name.
///
/// # Errors
/// As every statement.
pub async fn remove_of_release<C: GenericClient>(c: &C, release: Uuid) -> Result<Vec<BranchName>, DatabaseError> {
    let rows = query(c, REMOVE_OF_RELEASE, &[&release]).await?;
    let mut branches: Vec<BranchName> = rows.iter().map(|row| text(row, "branch")).collect::<Result<_, _>>()?;
    branches.sort();
    Ok(branches)
}

/// Ends every assignment of a branch.
///
/// # Errors
/// As every statement.
pub async fn remove_of_branch<C: GenericClient>(c: &C, branch: &BranchName) -> Result<(), DatabaseError> {
    execute(c, REMOVE_OF_BRANCH, &[&branch.as_str()]).await.map(drop)
}

/// The assignments of some branches, by branch and product.
///
/// # Errors
/// As every statement.
pub async fn of_branches<C: GenericClient>(c: &C, branches: &[&str]) -> Result<Vec<AssignmentRow>, DatabaseError> {
    query(c, OF_BRANCHES, &[&branches]).await?.iter().map(from_row).collect()
}
