//! Table `plan_refusals`: why branch servers do not follow the plans that they were offered.

use chrono::{DateTime, Utc};
use fleet_types::BranchName;
use service_kit::database::{DatabaseError, GenericClient, execute, query};
use wire::Reason;

use super::row::{reason, signed, text, to_json};

service_kit::statements! {
    SET = "INSERT INTO plan_refusals (branch, serial, reason, at, reason_json) VALUES ($1, $2, $3, $4, $5)
        ON CONFLICT (branch) DO UPDATE SET serial = $2, reason = $3, at = $4, reason_json = $5";
    CLEAR = "DELETE FROM plan_refusals WHERE branch = $1";
    OF = "SELECT branch, reason, reason_json FROM plan_refusals WHERE branch = ANY($1)";
}

/// A branch refuses a plan.
///
/// # Errors
/// As every statement.
pub async fn set<C: GenericClient>(
    c: &C,
    branch: &BranchName,
    serial: Option<u64>,
    reason: &Reason,
    at: DateTime<Utc>,
) -> Result<(), DatabaseError> {
    execute(c, SET, &[&branch.as_str(), &serial.map(signed), &reason.text, &at, &to_json(reason, "reason_json")?])
        .await
        .map(drop)
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
pub async fn of<C: GenericClient>(c: &C, branches: &[&str]) -> Result<Vec<(BranchName, Reason)>, DatabaseError> {
    let rows = query(c, OF, &[&branches]).await?;
    let mut refusals = Vec::with_capacity(rows.len());
    for row in &rows {
        if let Some(why) = reason(row, None, "reason", "reason_json")? {
            refusals.push((text(row, "branch")?, why));
        }
    }
    Ok(refusals)
}
