//! Table `report_epochs`: how far each numbering of a branch's reports is stored.

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use fleet_types::{BranchName, Digest};
use service_kit::database::{DatabaseError, GenericClient, execute, query, query_opt};
use tokio_postgres::Row;
use uuid::Uuid;
use wire::v1::numbering::Recent;

use super::row::{get, signed, unsigned};

/// How many numberings of a branch are remembered.
///
/// A new one begins only when a branch lost its journal, or used numbers twice.
const KEPT_EPOCHS: i64 = 20;

/// Whose digests are compared: another version may read and write a report differently.
const VERSION: &str = env!("CARGO_PKG_VERSION");

service_kit::statements! {
    THROUGH = "SELECT through FROM report_epochs WHERE branch = $1 AND epoch = $2";
    OPEN = "INSERT INTO report_epochs (branch, epoch, through, heard_at) VALUES ($1, $2, 0, $3)
        ON CONFLICT (branch, epoch) DO UPDATE SET heard_at = $3";
    ALL = "SELECT epoch, through, began, recent, recent_through, recent_by FROM report_epochs WHERE branch = $1";
    ADVANCE = "UPDATE report_epochs SET through = $3, recent = $4, recent_through = $3, recent_by = $5
        WHERE branch = $1 AND epoch = $2";
    REMOVE_OF_BRANCH = "DELETE FROM report_epochs WHERE branch = $1";
    FORGET = "DELETE FROM report_epochs WHERE branch = $1 AND epoch NOT IN
        (SELECT epoch FROM report_epochs WHERE branch = $1 ORDER BY began DESC NULLS LAST, heard_at DESC LIMIT $2)";
}

/// The last stored number of this numbering; 0 if it never began.
///
/// # Errors
/// As every statement.
pub async fn through<C: GenericClient>(c: &C, branch: &BranchName, epoch: Uuid) -> Result<u64, DatabaseError> {
    let row = query_opt(c, THROUGH, &[&branch.as_str(), &epoch]).await?;
    row.map_or(Ok(0), |row| unsigned(&row, "through"))
}

/// A numbering of a branch's reports.
#[derive(Debug, Default)]
pub struct Numbering {
    /// The last stored number.
    pub through: u64,
    /// What the last reports said.
    pub recent: Recent,
    /// What the last reports of the branch's other numberings said.
    pub elsewhere: HashSet<Digest>,
    /// Whether a newer numbering has begun.
    pub superseded: bool,
    /// Whether no other numbering of the branch is known.
    pub is_only: bool,
}

/// Returns this numbering, which begins with it if it is new.
///
/// The row is held until the transaction ends, so that two deliveries of one batch take turns.
///
/// # Errors
/// As every statement.
pub async fn open<C: GenericClient>(
    c: &C,
    branch: &BranchName,
    epoch: Uuid,
    now: DateTime<Utc>,
) -> Result<Numbering, DatabaseError> {
    execute(c, OPEN, &[&branch.as_str(), &epoch, &now]).await?;
    let (mut numbering, mut own, mut newest) = (Numbering { is_only: true, ..Numbering::default() }, None, None);
    for row in query(c, ALL, &[&branch.as_str()]).await? {
        let (through, recent, began) = (unsigned(&row, "through")?, recent(&row)?, get::<Option<i64>>(&row, "began")?);
        if get::<Uuid>(&row, "epoch")? == epoch {
            (numbering.through, numbering.recent, own) = (through, recent, began);
        } else {
            numbering.elsewhere.extend(recent.iter());
            newest = newest.max(began);
            numbering.is_only = false;
        }
    }
    numbering.superseded = newest > own;
    Ok(numbering)
}

/// The digests, if they are of this version and of the last reports: an older version stores reports without them.
fn recent(row: &Row) -> Result<Recent, DatabaseError> {
    let through: Option<i64> = get(row, "recent_through")?;
    let by: Option<&str> = get(row, "recent_by")?;
    let bytes: Option<&[u8]> = get(row, "recent")?;
    let counts = through == Some(get(row, "through")?) && by == Some(VERSION);
    Ok(bytes.filter(|_| counts).map(Recent::from_bytes).unwrap_or_default())
}

/// This numbering is stored up to `through`.
///
/// # Errors
/// As every statement.
pub async fn advance<C: GenericClient>(
    c: &C,
    branch: &BranchName,
    epoch: Uuid,
    through: u64,
    recent: &Recent,
) -> Result<(), DatabaseError> {
    let digests = recent.to_bytes();
    execute(c, ADVANCE, &[&branch.as_str(), &epoch, &signed(through), &digests, &VERSION]).await?;
    execute(c, FORGET, &[&branch.as_str(), &KEPT_EPOCHS]).await.map(drop)
}

/// Forgets every numbering of a branch.
///
/// # Errors
/// As every statement.
pub async fn remove_of_branch<C: GenericClient>(c: &C, branch: &BranchName) -> Result<(), DatabaseError> {
    execute(c, REMOVE_OF_BRANCH, &[&branch.as_str()]).await.map(drop)
}
