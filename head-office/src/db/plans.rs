//! Table `plans`: every plan that was issued.

use chrono::{DateTime, Utc};
use fleet_types::BranchName;
use service_kit::database::{DatabaseError, GenericClient, execute, query, query_one, query_opt};
use tokio_postgres::Row;
use wire::Envelope;
use wire::v1::plan::{Plan, Step};

use super::{get, json, signed, text, to_json, unsigned};

service_kit::statements! {
    INSERT = "INSERT INTO plans (branch, serial, issued, expires, steps, envelope) VALUES ($1, $2, $3, $4, $5, $6)";
    NEWEST = "SELECT branch, serial, issued, expires, steps FROM plans WHERE branch = $1 ORDER BY serial DESC LIMIT 1";
    NEWEST_OF = "SELECT DISTINCT ON (branch) branch, serial, issued, expires, steps FROM plans WHERE branch = ANY($1)
        ORDER BY branch, serial DESC";
    NAMING = "SELECT count(*) AS count FROM plans WHERE branch = $1 AND expires > $2 AND steps @> $3";
    ENVELOPE = "SELECT envelope FROM plans WHERE branch = $1 AND serial = $2";
}

/// A plan without its envelope.
#[derive(Debug, Clone)]
pub struct PlanRow {
    /// The branch.
    pub branch: BranchName,
    /// Its serial.
    pub serial: u64,
    /// When it was made.
    pub issued: DateTime<Utc>,
    /// Until when it is accepted.
    pub expires: DateTime<Utc>,
    /// What it orders.
    pub steps: Vec<Step>,
}

fn from_row(row: &Row) -> Result<PlanRow, DatabaseError> {
    Ok(PlanRow {
        branch: text(row, "branch")?,
        serial: unsigned(row, "serial")?,
        issued: get(row, "issued")?,
        expires: get(row, "expires")?,
        steps: json(row, "steps")?.unwrap_or_default(),
    })
}

/// Adds a plan with its envelope.
///
/// # Errors
/// As every statement.
pub async fn insert<C: GenericClient>(c: &C, plan: &Plan, envelope: &Envelope) -> Result<(), DatabaseError> {
    let (steps, envelope) = (to_json(&plan.steps, "steps")?, to_json(envelope, "envelope")?);
    let (branch, serial) = (plan.branch.as_str(), signed(plan.serial));
    execute(c, INSERT, &[&branch, &serial, &plan.issued, &plan.expires, &steps, &envelope]).await.map(drop)
}

/// The newest plan of a branch.
///
/// # Errors
/// As every statement.
pub async fn newest<C: GenericClient>(c: &C, branch: &BranchName) -> Result<Option<PlanRow>, DatabaseError> {
    query_opt(c, NEWEST, &[&branch.as_str()]).await?.as_ref().map(from_row).transpose()
}

/// The newest plan of each of some branches.
///
/// # Errors
/// As every statement.
pub async fn newest_of<C: GenericClient>(c: &C, branches: &[&str]) -> Result<Vec<PlanRow>, DatabaseError> {
    query(c, NEWEST_OF, &[&branches]).await?.iter().map(from_row).collect()
}

/// A plan of a branch, exactly as it was sealed.
///
/// # Errors
/// As every statement.
pub async fn envelope<C: GenericClient>(
    c: &C,
    branch: &BranchName,
    serial: u64,
) -> Result<Option<Envelope>, DatabaseError> {
    let row = query_opt(c, ENVELOPE, &[&branch.as_str(), &signed(serial)]).await?;
    Ok(row.as_ref().map(|row| json(row, "envelope")).transpose()?.flatten())
}

/// Whether a plan of the branch that has not expired has a step with `part`, such as `{"manifest": "…"}`.
///
/// # Errors
/// As every statement.
pub async fn names<C: GenericClient>(
    c: &C,
    branch: &BranchName,
    part: serde_json::Value,
    now: DateTime<Utc>,
) -> Result<bool, DatabaseError> {
    let steps = serde_json::Value::Array(vec![part]);
    Ok(unsigned(&query_one(c, NAMING, &[&branch.as_str(), &now, &steps]).await?, "count")? > 0)
}
