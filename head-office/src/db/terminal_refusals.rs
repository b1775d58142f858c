//! Table `terminal_refusals`: why terminals do not follow the plans that their branch servers offer.

use chrono::{DateTime, Utc};
use fleet_types::{BranchName, TerminalName};
use service_kit::database::{DatabaseError, GenericClient, execute, query};
use wire::Reason;

use super::row::{reason, reason_columns, text};

service_kit::statements! {
    SET = "INSERT INTO terminal_refusals (branch, terminal, code, reason, at, reason_json)
        VALUES ($1, $2, $3, $4, $5, $6)
        ON CONFLICT (branch, terminal) DO UPDATE SET code = $3, reason = $4, at = $5, reason_json = $6";
    CLEAR = "DELETE FROM terminal_refusals WHERE branch = $1 AND terminal = $2";
    OF = "SELECT r.branch, r.terminal, r.code, r.reason, r.reason_json FROM terminal_refusals r
        JOIN unnest($1::text[], $2::text[]) AS t (branch, name) ON r.branch = t.branch AND r.terminal = t.name";
}

/// A terminal that there is refuses its plan, or nothing any more.
///
/// # Errors
/// As every statement.
pub async fn set<C: GenericClient>(
    c: &C,
    branch: &BranchName,
    terminal: &TerminalName,
    reason: Option<&Reason>,
    at: DateTime<Utc>,
) -> Result<(), DatabaseError> {
    let (branch, terminal) = (branch.as_str(), terminal.as_str());
    if reason.is_none() {
        return execute(c, CLEAR, &[&branch, &terminal]).await.map(drop);
    }
    let (code, text, json) = reason_columns(reason, "reason_json")?;
    execute(c, SET, &[&branch, &terminal, &code, &text, &at, &json]).await.map(drop)
}

/// Why some terminals refuse, as far as they do.
///
/// The branches of the terminals, and their names in the same order.
///
/// # Errors
/// As every statement.
pub async fn of<C: GenericClient>(
    c: &C,
    branches: &[&str],
    names: &[&str],
) -> Result<Vec<((BranchName, TerminalName), Reason)>, DatabaseError> {
    let rows = query(c, OF, &[&branches, &names]).await?;
    let mut refusals = Vec::with_capacity(rows.len());
    for row in &rows {
        if let Some(why) = reason(row, Some("code"), "reason", "reason_json")? {
            refusals.push(((text(row, "branch")?, text(row, "terminal")?), why));
        }
    }
    Ok(refusals)
}
