//! Bad data that arrived somewhere, for the people at head office.

use std::net::IpAddr;

use chrono::{DateTime, Utc};
use fleet_types::{BranchName, Digest, TerminalName};
use serde::{Deserialize, Serialize};

/// Most incidents in one page.
pub const MAX_PAGE: u64 = 200;

/// A branch server or terminal received bad data and threw it away.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Incident {
    /// Its number: a later one is higher.
    pub id: u64,
    /// When, by the clock of who received it.
    pub at: DateTime<Utc>,
    /// At which branch.
    pub branch: BranchName,
    /// At which terminal; none: at the branch server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub terminal: Option<TerminalName>,
    /// Of which artifact.
    pub artifact: Digest,
    /// Who sent it: one of these, the likeliest first. Empty: not known.
    #[schema(value_type = Vec<String>)]
    pub addresses: Vec<IpAddr>,
    /// Bytes thrown away.
    pub wasted_bytes: u64,
    /// It was the first address. If not, any of them, the branch's own among them, may be innocent.
    pub certain: bool,
}

/// A page of incidents.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Incidents {
    /// Newest first.
    pub incidents: Vec<Incident>,
    /// `before` of the next page; none: this is the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<u64>,
}
