//! An overview of everything, for `filial status` and the consoles.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::fleet::{Branch, Terminal};
use super::incidents::Incident;
use super::releases::Release;
use crate::reason::Reason;

/// The state of the fleet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Status {
    /// The server's time.
    pub now: DateTime<Utc>,
    /// The newest releases, newest first, at most 20.
    pub releases: Vec<Release>,
    /// Branches by name, at most 1,000.
    pub branches: Vec<Branch>,
    /// Terminals by branch and name, at most 1,000: of each branch as many, or all that it has.
    pub terminals: Vec<Terminal>,
    /// Invalid data received, newest first, at most 5; all of it is at `/v1/incidents`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub incidents: Vec<Incident>,
    /// What needs an operator's attention, at most 100; empty when all is well.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub alerts: Vec<Alert>,
    /// The server's background tasks with their last results; empty from a server that does not tell.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub background: Vec<TaskStatus>,
    /// How much more there is than these lists show.
    #[serde(default)]
    pub left_out: LeftOut,
}

/// A background task of a server: what it did last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct TaskStatus {
    /// Stable, such as `retention`.
    pub name: String,
    /// The longest time between two runs that succeed.
    pub interval_seconds: u64,
    /// Whether a run is in progress.
    pub running: bool,
    /// Runs that ended since the server started.
    pub runs: u64,
    /// How many of them failed.
    pub failures: u64,
    /// The last run that ended; none before the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<TaskResult>,
}

/// How a run of a background task ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct TaskResult {
    /// When it ended.
    pub at: DateTime<Utc>,
    /// How long it took, in milliseconds.
    pub took_ms: u64,
    /// Why it failed; none if it succeeded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
}

/// A condition that needs an operator's attention.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Alert {
    /// What it is: a stable code such as `metadata-expires`, parameters and one sentence.
    #[serde(flatten)]
    pub reason: Reason,
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
