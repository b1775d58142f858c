//! Enrolment and synchronisation: the same shapes between branch and head office and between terminal and branch.

use fleet_types::{BranchName, Digest, ModelName, TerminalName};
use serde::{Deserialize, Serialize};

use crate::Envelope;

/// A branch server or a terminal asks for an identity.
#[derive(Debug, Clone, Serialize, Deserialize, utoipa::ToSchema)]
pub struct EnrolRequest {
    /// The join token: of `filial branch add` for a branch, of the branch server for a terminal.
    pub join_token: String,
    /// Set by a terminal: who it is. A branch's name is bound to its join token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub terminal: Option<TerminalFacts>,
}

/// What a terminal says of itself when it enrols and whenever it changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct TerminalFacts {
    /// Its name.
    pub name: TerminalName,
    /// Its hardware model.
    pub model: ModelName,
    /// Size in bytes of its smaller slot.
    pub slot_bytes: u64,
    /// Size in bytes of its data partition.
    pub data_bytes: u64,
    /// Version of the agent.
    pub agent_version: String,
}

/// The identity that was given.
#[derive(Clone, Serialize, Deserialize, utoipa::ToSchema)]
pub struct EnrolResponse {
    /// The branch the caller belongs to.
    pub branch: BranchName,
    /// A bearer token. Keep it in a file that only the program reads.
    pub token: String,
}

impl std::fmt::Debug for EnrolResponse {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EnrolResponse").field("branch", &self.branch).finish_non_exhaustive()
    }
}

/// What the caller should hold and run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Sync {
    /// The newest plan of the branch, exactly as head office sealed it; none before the first assignment.
    pub plan: Option<Envelope>,
    /// Of the plan's artifacts, those whose index and torrent can be had from the answering server now.
    pub available: Vec<Digest>,
    /// Version of the newest timestamp role that the answering server has: a hint that there is metadata to fetch, which
    /// nobody believes before it was verified.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<u64>,
}

/// One line of the event stream. It carries no state: the receiver asks `/v1/sync`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Event {
    /// Something about your plan or its artifacts changed: look again.
    LookAgain,
}
