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
    /// Terminals by branch and name, at most 10,000.
    pub terminals: Vec<Terminal>,
    /// Bad data that arrived somewhere, newest first, at most 5; all of it is at `/v1/incidents`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub incidents: Vec<Incident>,
}
