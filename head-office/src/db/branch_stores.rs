//! Table `branch_stores`.

use chrono::{DateTime, Utc};
use fleet_types::BranchName;
use service_kit::database::{DatabaseError, GenericClient, execute};

use super::row::signed;

service_kit::statements! {
    SET = "INSERT INTO branch_stores (branch, capacity_bytes, free_bytes, held_bytes, at) VALUES ($1, $2, $3, $4, $5)
        ON CONFLICT (branch) DO UPDATE SET capacity_bytes = $2, free_bytes = $3, held_bytes = $4, at = $5";
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
