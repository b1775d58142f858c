//! Table `branch_audits`.

use chrono::{DateTime, Utc};
use fleet_types::BranchName;
use service_kit::database::{DatabaseError, GenericClient, execute, query, query_opt};
use tokio_postgres::Row;
use wire::v1::audit::Head;
use wire::v1::fleet::{AuditCut, BranchAudit};

use super::row::{get, signed, text, unsigned};

service_kit::statements! {
    READ = "SELECT branch, seq, hash, at, kept_seq, kept_hash, cut_seq, cut_at FROM branch_audits WHERE branch = $1";
    OF = "SELECT branch, seq, hash, at, kept_seq, kept_hash, cut_seq, cut_at FROM branch_audits WHERE branch = ANY($1)";
    CUT_SINCE = "SELECT branch, seq, hash, at, kept_seq, kept_hash, cut_seq, cut_at FROM branch_audits WHERE cut_at > $1
        ORDER BY cut_at DESC, branch LIMIT $2";
    SET = "INSERT INTO branch_audits (branch, seq, hash, at) VALUES ($1, $2, $3, $4)
        ON CONFLICT (branch) DO UPDATE SET seq = $2, hash = $3, at = $4";
    CUT = "UPDATE branch_audits SET kept_seq = seq, kept_hash = hash, cut_seq = $2, cut_at = $3 WHERE branch = $1";
}

fn from_row(row: &Row) -> Result<(BranchName, BranchAudit), DatabaseError> {
    let cut = match get::<Option<DateTime<Utc>>>(row, "cut_at")? {
        Some(noticed) => Some(AuditCut {
            noticed,
            kept: Head { seq: unsigned(row, "kept_seq")?, hash: text(row, "kept_hash")? },
            found: unsigned(row, "cut_seq")?,
        }),
        None => None,
    };
    let head = Head { seq: unsigned(row, "seq")?, hash: text(row, "hash")? };
    Ok((text(row, "branch")?, BranchAudit { head, at: get(row, "at")?, cut }))
}

/// What is known of a branch's audit.
///
/// # Errors
/// As every statement.
pub async fn read<C: GenericClient>(c: &C, branch: &BranchName) -> Result<Option<BranchAudit>, DatabaseError> {
    let row = query_opt(c, READ, &[&branch.as_str()]).await?;
    row.as_ref().map(|row| from_row(row).map(|(_, audit)| audit)).transpose()
}

/// What is known of the audits of some branches.
///
/// # Errors
/// As every statement.
pub async fn of<C: GenericClient>(c: &C, branches: &[&str]) -> Result<Vec<(BranchName, BranchAudit)>, DatabaseError> {
    query(c, OF, &[&branches]).await?.iter().map(from_row).collect()
}

/// The branches whose audit was found cut after `since`, the last one first.
///
/// # Errors
/// As every statement.
pub async fn cut_since<C: GenericClient>(
    c: &C,
    since: DateTime<Utc>,
    limit: u64,
) -> Result<Vec<(BranchName, BranchAudit)>, DatabaseError> {
    query(c, CUT_SINCE, &[&since, &signed(limit)]).await?.iter().map(from_row).collect()
}

/// A branch's audit reaches to `head`.
///
/// # Errors
/// As every statement.
pub async fn set<C: GenericClient>(
    c: &C,
    branch: &BranchName,
    head: Head,
    at: DateTime<Utc>,
) -> Result<(), DatabaseError> {
    execute(c, SET, &[&branch.as_str(), &signed(head.seq), &head.hash.to_string(), &at]).await.map(drop)
}

/// Keeps how far a branch's audit had reached, as it was found to end at row `found` or to be another chain.
///
/// # Errors
/// As every statement.
pub async fn cut<C: GenericClient>(
    c: &C,
    branch: &BranchName,
    found: u64,
    now: DateTime<Utc>,
) -> Result<(), DatabaseError> {
    execute(c, CUT, &[&branch.as_str(), &signed(found), &now]).await.map(drop)
}
