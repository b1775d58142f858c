//! Table `terminal_packages`: where the packages of terminals stand.

use chrono::{DateTime, Utc};
use fleet_types::{BranchName, Digest, ProductName, TerminalName};
use service_kit::database::{DatabaseError, GenericClient, execute, query};
use tokio_postgres::Row;
use wire::v1::fleet::TerminalPackage;
use wire::v1::reports::PackageReport;

use super::row::{get, reason, reason_columns, signed, text, unsigned};

service_kit::statements! {
    // Only what some release delivers: a terminal must not fill the table with inventions.
    SET = "INSERT INTO terminal_packages (branch, terminal, product, version, name, payload_sha256, have_bytes, total_bytes,
            complete, trouble_code, trouble_text, at, trouble_json)
        SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13 WHERE EXISTS
            (SELECT 1 FROM payloads p JOIN releases r ON r.id = p.release_id WHERE r.product = $3 AND r.version = $4
                AND p.name = $5 AND p.sha256 = $6 AND p.kind = 'package')
        ON CONFLICT (branch, terminal, product, version, name) DO UPDATE SET payload_sha256 = $6, have_bytes = $7,
            total_bytes = $8, complete = $9, trouble_code = $10, trouble_text = $11, at = $12, trouble_json = $13";
    REMOVE = "DELETE FROM terminal_packages
        WHERE branch = $1 AND terminal = $2 AND product = $3 AND version = $4 AND name = $5";
    COMPLETE = "SELECT branch, terminal, product, payload_sha256 FROM terminal_packages WHERE branch = ANY($1) AND complete";
    OF_TERMINAL = "SELECT product, version, name, payload_sha256, have_bytes, total_bytes, complete, trouble_code,
            trouble_text, trouble_json, at FROM terminal_packages
        WHERE branch = $1 AND terminal = $2 ORDER BY product, name, at DESC, version";
}

fn from_row(row: &Row) -> Result<TerminalPackage, DatabaseError> {
    Ok(TerminalPackage {
        product: text(row, "product")?,
        version: text(row, "version")?,
        name: get(row, "name")?,
        payload: text(row, "payload_sha256")?,
        have_bytes: unsigned(row, "have_bytes")?,
        total_bytes: unsigned(row, "total_bytes")?,
        complete: get(row, "complete")?,
        trouble: reason(row, Some("trouble_code"), "trouble_text", "trouble_json")?,
        since: get(row, "at")?,
    })
}

/// Stores where a package stands, or that it is gone. The terminal must be there.
///
/// # Errors
/// As every statement.
pub async fn record<C: GenericClient>(
    c: &C,
    branch: &BranchName,
    terminal: &TerminalName,
    package: &PackageReport,
    at: DateTime<Utc>,
) -> Result<(), DatabaseError> {
    let (branch, terminal, product) = (branch.as_str(), terminal.as_str(), package.product.as_str());
    let (version, name) = (package.version.to_string(), &package.name);
    if package.removed {
        return execute(c, REMOVE, &[&branch, &terminal, &product, &version, name]).await.map(drop);
    }
    let (payload, have, total) = (package.payload.to_string(), signed(package.have_bytes), signed(package.total_bytes));
    let (code, words, json) = reason_columns(package.trouble.as_ref(), "trouble_json")?;
    let complete = package.complete;
    let row: [&(dyn tokio_postgres::types::ToSql + Sync); 13] =
        [&branch, &terminal, &product, &version, name, &payload, &have, &total, &complete, &code, &words, &at, &json];
    execute(c, SET, &row).await.map(drop)
}

/// A package that a terminal has.
#[derive(Debug, Clone)]
pub struct CompleteRow {
    /// The branch.
    pub branch: BranchName,
    /// The terminal.
    pub terminal: TerminalName,
    /// The product.
    pub product: ProductName,
    /// The payload.
    pub payload: Digest,
}

/// The packages that the terminals of some branches have.
///
/// # Errors
/// As every statement.
pub async fn complete<C: GenericClient>(c: &C, branches: &[&str]) -> Result<Vec<CompleteRow>, DatabaseError> {
    let row = |row: &Row| {
        let (branch, terminal) = (text(row, "branch")?, text(row, "terminal")?);
        Ok(CompleteRow { branch, terminal, product: text(row, "product")?, payload: text(row, "payload_sha256")? })
    };
    query(c, COMPLETE, &[&branches]).await?.iter().map(row).collect()
}

/// The packages of a terminal, by product and name.
///
/// # Errors
/// As every statement.
pub async fn of_terminal<C: GenericClient>(
    c: &C,
    branch: &BranchName,
    terminal: &TerminalName,
) -> Result<Vec<TerminalPackage>, DatabaseError> {
    query(c, OF_TERMINAL, &[&branch.as_str(), &terminal.as_str()]).await?.iter().map(from_row).collect()
}
