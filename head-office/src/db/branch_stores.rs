//! Table `branch_stores`.

use chrono::{DateTime, Utc};
use fleet_types::BranchName;
use service_kit::database::{DatabaseError, GenericClient, execute, query};
use wire::v1::fleet::BranchSpace;

use super::row::{get, signed, text, unsigned};

service_kit::statements! {
    SET = "INSERT INTO branch_stores (branch, capacity_bytes, free_bytes, held_bytes, at) VALUES ($1, $2, $3, $4, $5)
        ON CONFLICT (branch) DO UPDATE SET capacity_bytes = $2, free_bytes = $3, held_bytes = $4, at = $5";
    OF = "SELECT branch, capacity_bytes, free_bytes, held_bytes, at FROM branch_stores WHERE branch = ANY($1)";
}

/// The room in a branch server's store, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// What artifacts may take in all.
    pub capacity: u64,
    /// What a new artifact may take.
    pub free: u64,
    /// What the artifacts there take.
    pub held: u64,
}

/// Stores what a branch server says of its store.
///
/// # Errors
/// As every statement.
pub async fn set<C: GenericClient>(
    c: &C,
    branch: &BranchName,
    room: Room,
    at: DateTime<Utc>,
) -> Result<(), DatabaseError> {
    let (capacity, free, held) = (signed(room.capacity), signed(room.free), signed(room.held));
    execute(c, SET, &[&branch.as_str(), &capacity, &free, &held, &at]).await.map(drop)
}

/// Returns the last report of each of some branches; none of a branch that never reported.
///
/// # Errors
/// As every statement.
pub async fn of<C: GenericClient>(c: &C, branches: &[&str]) -> Result<Vec<(BranchName, BranchSpace)>, DatabaseError> {
    let rows = query(c, OF, &[&branches]).await?;
    rows.iter()
        .map(|row| {
            let space = BranchSpace {
                capacity_bytes: unsigned(row, "capacity_bytes")?,
                free_bytes: unsigned(row, "free_bytes")?,
                held_bytes: unsigned(row, "held_bytes")?,
                reported: get(row, "at")?,
            };
            Ok((text(row, "branch")?, space))
        })
        .collect()
}
