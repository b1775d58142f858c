//! Table `plan_refusals`: why branch servers do not follow the plans that they were offered.

use chrono::{DateTime, Utc};
use fleet_types::BranchName;
use service_kit::database::{DatabaseError, GenericClient, execute, query};

use super::row::{get, signed, text};

service_kit::statements! {
    SET = "INSERT INTO plan_refusals (branch, serial, reason, at) VALUES ($1, $2, $3, $4)
        ON CONFLICT (branch) DO UPDATE SET serial = $2, reason = $3, at = $4";
    CLEAR = "DELETE FROM plan_refusals WHERE branch = $1";
    OF = "SELECT branch, reason FROM plan_refusals WHERE branch = ANY($1)";
}

/// A branch refuses a plan.
///
/// # Errors
/// As every statement.
pub async fn set<C: GenericClient>(
    c: &C,
    branch: &BranchName,
    serial: Option<u64>,
    reason: &str,
    at: DateTime<Utc>,
) -> Result<(), DatabaseError> {
    execute(c, SET, &[&branch.as_str(), &serial.map(signed), &reason, &at]).await.map(drop)
}

/// A branch refuses nothing any more.
///
/// # Errors
/// As every statement.
pub async fn clear<C: GenericClient>(c: &C, branch: &BranchName) -> Result<(), DatabaseError> {
    execute(c, CLEAR, &[&branch.as_str()]).await.map(drop)
}

/// Why some branches refuse, as far as they do.
///
/// # Errors
/// As every statement.
pub async fn of<C: GenericClient>(c: &C, branches: &[&str]) -> Result<Vec<(BranchName, String)>, DatabaseError> {
    let rows = query(c, OF, &[&branches]).await?;
    rows.iter().map(|row| Ok((text(row, "branch")?, get(row, "reason")?))).collect()
}
