//! One picture of everything, for `filial status` and the consoles.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::fleet::{Branch, Terminal};
use super::incidents::Incident;
use super::releases::Release;

/// What is going on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Status {
    /// The server's time.
    pub now: DateTime<Utc>,
    /// The newest releases, newest first, at most 20.
    pub releases: Vec<Release>,
    /// Branches by name, at most 1,000.
    pub branches: Vec<Branch>,
    /// Terminals by branch and name, at most 1,000.
    pub terminals: Vec<Terminal>,
    /// Bad data that arrived somewhere, newest first, at most 5; all of it is at `/v1/incidents`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub incidents: Vec<Incident>,
    /// What somebody must look at, at most 100; empty when all is well.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub alerts: Vec<Alert>,
    /// How much more there is than these lists show.
    #[serde(default)]
    pub left_out: LeftOut,
}

/// Something that somebody must look at.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Alert {
    /// Stable, such as `metadata-expires`.
    pub code: String,
    /// One sentence.
    pub text: String,
    /// What to do about it.
    pub remedy: String,
}

/// What a picture leaves out to stay readable; the lists have all of it, page by page.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct LeftOut {
    /// Older releases.
    pub releases: u64,
    /// Further branches.
    pub branches: u64,
    /// Further terminals.
    pub terminals: u64,
}
