//! Table `held_reports`: states that were signed with a key that waits for an operator.

use chrono::{DateTime, Utc};
use fleet_types::{BranchName, ProductName, TerminalName};
use service_kit::database::{DatabaseError, GenericClient, execute, query, query_opt};
use wire::v1::reports::UpdateReport;

use super::row::get;

/// Most products of a terminal whose states are held: an honest one has one or two.
const MAX_HELD: i64 = 8;

service_kit::statements! {
    HOLD = "INSERT INTO held_reports (branch, terminal, product, at, report) VALUES ($1, $2, $3, $4, $5)
        ON CONFLICT (branch, terminal, product) DO UPDATE SET at = $4, report = $5";
    FORGET = "DELETE FROM held_reports WHERE branch = $1 AND terminal = $2 AND product NOT IN
        (SELECT product FROM held_reports WHERE branch = $1 AND terminal = $2 ORDER BY at DESC, product LIMIT $3)";
    FIND = "SELECT report FROM held_reports WHERE branch = $1 AND terminal = $2 AND product = $3";
    TAKE = "DELETE FROM held_reports WHERE branch = $1 AND terminal = $2 RETURNING at, report";
}

/// Holds a state in place of the one that was held of the same product.
///
/// # Errors
/// As every statement.
pub async fn hold<C: GenericClient>(
    c: &C,
    branch: &BranchName,
    terminal: &TerminalName,
    update: &UpdateReport,
    at: DateTime<Utc>,
) -> Result<(), DatabaseError> {
    let report = serde_json::to_string(update).map_err(|e| DatabaseError::unwritable("held_reports.report", e))?;
    let (branch, terminal) = (branch.as_str(), terminal.as_str());
    execute(c, HOLD, &[&branch, &terminal, &update.product.as_str(), &at, &report]).await?;
    execute(c, FORGET, &[&branch, &terminal, &MAX_HELD]).await.map(drop)
}

/// Returns what is held of a terminal's product.
///
/// # Errors
/// As every statement.
pub async fn find<C: GenericClient>(
    c: &C,
    branch: &BranchName,
    terminal: &TerminalName,
    product: &ProductName,
) -> Result<Option<UpdateReport>, DatabaseError> {
    let row = query_opt(c, FIND, &[&branch.as_str(), &terminal.as_str(), &product.as_str()]).await?;
    row.map(|row| read(get(&row, "report")?)).transpose()
}

/// Takes what is held of a terminal away.
///
/// # Errors
/// As every statement.
pub async fn take<C: GenericClient>(
    c: &C,
    branch: &BranchName,
    terminal: &TerminalName,
) -> Result<Vec<(DateTime<Utc>, UpdateReport)>, DatabaseError> {
    let rows = query(c, TAKE, &[&branch.as_str(), &terminal.as_str()]).await?;
    rows.iter().map(|row| Ok((get(row, "at")?, read(get(row, "report")?)?))).collect()
}

fn read(report: &str) -> Result<UpdateReport, DatabaseError> {
    serde_json::from_str(report).map_err(|e| DatabaseError::value("held_reports.report", e))
}
