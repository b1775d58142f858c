//! Table `report_epochs`: how far each numbering of a branch's reports is stored.

use chrono::{DateTime, Utc};
use fleet_types::BranchName;
use service_kit::database::{DatabaseError, GenericClient, execute, query_one, query_opt};
use uuid::Uuid;

use super::row::{signed, unsigned};

/// How many numberings of a branch are remembered.
///
/// A new one begins only when a branch lost its journal.
const KEPT_EPOCHS: i64 = 20;

service_kit::statements! {
    THROUGH = "SELECT through FROM report_epochs WHERE branch = $1 AND epoch = $2";
    OPEN = "INSERT INTO report_epochs (branch, epoch, through, heard_at) VALUES ($1, $2, 0, $3)
        ON CONFLICT (branch, epoch) DO UPDATE SET heard_at = $3 RETURNING through";
    ADVANCE = "UPDATE report_epochs SET through = $3 WHERE branch = $1 AND epoch = $2";
    REMOVE_OF_BRANCH = "DELETE FROM report_epochs WHERE branch = $1";
    FORGET = "DELETE FROM report_epochs WHERE branch = $1 AND epoch NOT IN
        (SELECT epoch FROM report_epochs WHERE branch = $1 ORDER BY heard_at DESC LIMIT $2)";
}

/// The last stored number of this numbering; 0 if it never began.
///
/// # Errors
/// As every statement.
pub async fn through<C: GenericClient>(c: &C, branch: &BranchName, epoch: Uuid) -> Result<u64, DatabaseError> {
    let row = query_opt(c, THROUGH, &[&branch.as_str(), &epoch]).await?;
    row.map_or(Ok(0), |row| unsigned(&row, "through"))
}

/// The last stored number of this numbering.
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
) -> Result<u64, DatabaseError> {
    unsigned(&query_one(c, OPEN, &[&branch.as_str(), &epoch, &now]).await?, "through")
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
) -> Result<(), DatabaseError> {
    execute(c, ADVANCE, &[&branch.as_str(), &epoch, &signed(through)]).await?;
    execute(c, FORGET, &[&branch.as_str(), &KEPT_EPOCHS]).await.map(drop)
}

/// Forgets every numbering of a branch.
///
/// # Errors
/// As every statement.
pub async fn remove_of_branch<C: GenericClient>(c: &C, branch: &BranchName) -> Result<(), DatabaseError> {
    execute(c, REMOVE_OF_BRANCH, &[&branch.as_str()]).await.map(drop)
}
