//! Table `incidents`: bad data that arrived at branches and terminals.

use std::net::IpAddr;

use chrono::{DateTime, Utc};
use fleet_types::{BranchName, Digest, TerminalName};
use service_kit::database::{DatabaseError, GenericClient, execute, query};
use tokio_postgres::Row;
use wire::v1::incidents::Incident;

use super::row::{get, signed, text, text_opt, unsigned};

/// Most incidents that are kept of one branch.
///
/// A branch with a poisoned LAN must not fill the disk.
const KEPT: i64 = 1000;

service_kit::statements! {
    INSERT = "INSERT INTO incidents (branch, terminal, artifact, addresses, wasted_bytes, certain, at)
        VALUES ($1, $2, $3, $4, $5, $6, $7)";
    TRIM = "DELETE FROM incidents WHERE branch = $1 AND id <=
        (SELECT id FROM incidents WHERE branch = $1 ORDER BY id DESC OFFSET $2 LIMIT 1)";
    PAGE = "SELECT id, branch, terminal, artifact, addresses, wasted_bytes, certain, at FROM incidents
        WHERE id < $1 ORDER BY id DESC LIMIT $2";
}

/// An incident that has no number yet.
#[derive(Debug, Clone)]
pub struct NewIncident {
    /// The terminal; none: the branch server itself.
    pub terminal: Option<TerminalName>,
    /// Of which artifact.
    pub artifact: Digest,
    /// Who may have sent it.
    pub addresses: Vec<IpAddr>,
    /// Bytes thrown away.
    pub wasted_bytes: u64,
    /// It was the first address.
    pub certain: bool,
    /// When.
    pub at: DateTime<Utc>,
}

fn from_row(row: &Row) -> Result<Incident, DatabaseError> {
    let addresses: Vec<&str> = get(row, "addresses")?;
    let address = |text: &&str| text.parse().map_err(|e| DatabaseError::value("addresses", e));
    Ok(Incident {
        id: unsigned(row, "id")?,
        at: get(row, "at")?,
        branch: text(row, "branch")?,
        terminal: text_opt(row, "terminal")?,
        artifact: text(row, "artifact")?,
        addresses: addresses.iter().map(address).collect::<Result<_, _>>()?,
        wasted_bytes: unsigned(row, "wasted_bytes")?,
        certain: get(row, "certain")?,
    })
}

/// Records an incident, and forgets the oldest ones of the branch beyond a thousand.
///
/// # Errors
/// As every statement.
pub async fn insert<C: GenericClient>(c: &C, branch: &BranchName, new: &NewIncident) -> Result<(), DatabaseError> {
    let terminal = new.terminal.as_ref().map(TerminalName::as_str);
    let (artifact, wasted) = (new.artifact.to_string(), signed(new.wasted_bytes));
    let addresses: Vec<String> = new.addresses.iter().map(ToString::to_string).collect();
    execute(c, INSERT, &[&branch.as_str(), &terminal, &artifact, &addresses, &wasted, &new.certain, &new.at]).await?;
    execute(c, TRIM, &[&branch.as_str(), &KEPT]).await.map(drop)
}

/// The newest incidents below a number, newest first.
///
/// # Errors
/// As every statement.
pub async fn page<C: GenericClient>(c: &C, before: Option<u64>, limit: u64) -> Result<Vec<Incident>, DatabaseError> {
    let before = before.map_or(i64::MAX, signed);
    query(c, PAGE, &[&before, &signed(limit)]).await?.iter().map(from_row).collect()
}
