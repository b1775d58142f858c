//! Enrolment and synchronisation: the same shapes between branch and head office and between terminal and branch.

use fleet_types::{BranchName, Digest, ModelName, TerminalName};
use serde::{Deserialize, Serialize};

use crate::Envelope;

/// A branch server asks head office for its certificate: with a join token the first time, by its key alone from then on,
/// also after the certificate has expired.
#[derive(Clone, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BranchEnrolRequest {
    /// The secret part of what `filial branch add` printed. The branch's name is bound to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub join_token: Option<String>,
    /// A request for a certificate (PKCS#10, PEM), signed by the branch server's key: of it only the key is taken.
    pub certificate_request: String,
}

impl std::fmt::Debug for BranchEnrolRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BranchEnrolRequest").finish_non_exhaustive()
    }
}

/// Who a branch server is, as head office's authority certifies it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct BranchEnrolResponse {
    /// The branch.
    pub branch: BranchName,
    /// Its intermediate certificate (X.509, PEM), with which it issues its own and its terminals'.
    pub certificate: String,
    /// The fleet's authority (X.509, PEM).
    pub authority: String,
}

/// A terminal asks its branch server for a certificate: with the branch's join token the first time, by its key alone from
/// then on, also after the certificate has expired.
#[derive(Clone, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EnrolRequest {
    /// The secret part of the branch's join token for terminals.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub join_token: Option<String>,
    /// A request for a certificate (PKCS#10, PEM), signed by the terminal's key: of it only the key is taken.
    pub certificate_request: String,
    /// Who it is; needed with a join token or a certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub terminal: Option<TerminalFacts>,
    /// Its certificate (X.509, PEM), also an expired one: a branch server that does not know the terminal, as after the loss of its
    /// database, lets it in by that. Branch servers of older versions refuse it as `bad-field`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<FormerCertificate>,
}

/// A certificate that another server of the same branch issued, or this one before it lost its database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct FormerCertificate {
    /// The terminal's (X.509, PEM).
    pub certificate: String,
    /// The branch's, which issued it (X.509, PEM).
    pub intermediate: String,
}

impl std::fmt::Debug for EnrolRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EnrolRequest").field("terminal", &self.terminal).finish_non_exhaustive()
    }
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

/// Who a terminal is, as its branch certifies it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct EnrolResponse {
    /// The branch that it belongs to.
    pub branch: BranchName,
    /// Its certificate (X.509, PEM).
    pub certificate: String,
    /// The branch's, which issued it (X.509, PEM).
    pub intermediate: String,
    /// The fleet's authority (X.509, PEM).
    pub authority: String,
}

/// What the caller should hold and run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Sync {
    /// The newest plan of the branch, exactly as head office sealed it; none before the first assignment.
    pub plan: Option<Envelope>,
    /// Of the plan's artifacts, those whose index and torrent can be had from the answering server now.
    pub available: Vec<Digest>,
    /// Version of the newest timestamp role that the answering server has: a hint that there is metadata to fetch, which
    /// is not trusted before it was verified.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<u64>,
    /// What a branch server must not let in; from head office to branch servers only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub denied: Option<DeniedMachines>,
}

/// Machines of a branch that a server of it must not let in although it does not know them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct DeniedMachines {
    /// Terminals that a server of the branch denied.
    pub terminals: Vec<TerminalName>,
    /// SHA-256 of the keys of former branch servers that head office denied: what they certified does not count.
    pub issuers: Vec<Digest>,
    /// Keys of terminals that an operator of head office replaced by others: 64 hexadecimal digits of an ed25519 key each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<String>,
}

/// One line of the event stream. It carries no state: the receiver asks `/v1/sync`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Event {
    /// Something about your plan or its artifacts changed: look again.
    LookAgain,
    /// A kind that this version does not know; a newer sender uses it. The receiver counts and skips it.
    #[serde(other)]
    Unknown,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_of_an_unknown_kind_is_read_as_unknown() {
        let read = |json: &str| serde_json::from_str::<Event>(json).unwrap();
        assert_eq!((read(r#""look-again""#), read(r#""look-at-alerts""#)), (Event::LookAgain, Event::Unknown));
        assert_eq!(serde_json::to_string(&Event::LookAgain).unwrap(), r#""look-again""#);
    }
}
