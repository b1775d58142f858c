//! Branches and terminals as operators see them.

use chrono::{DateTime, Utc};
use fleet_types::{BranchName, ModelName, ProductName, Slot, TerminalName, UpdateState, Version};
use serde::{Deserialize, Serialize};

use super::audit::Head;
use super::evidence::BootEvidence;
use super::reports::Reason;

/// Add a branch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AddBranch {
    /// Its name.
    pub name: BranchName,
    /// For how many seconds its join token may be used, 1 to 31,536,000 (a year); as head office is set without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub join_token_seconds: Option<u32>,
}

/// A branch was added: the join token is shown this once.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct BranchAdded {
    /// Its name.
    pub name: BranchName,
    /// What its server enrols with, once: a secret, and the fingerprint of the authority by which it knows head office.
    pub join_token: String,
    /// Until when.
    pub join_token_expires: DateTime<Utc>,
}

impl std::fmt::Debug for BranchAdded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BranchAdded").field("name", &self.name).finish_non_exhaustive()
    }
}

/// A branch server's certificate is to be denied, or to count again.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DenyBranch {
    /// Why; kept in the audit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// A branch was removed, with everything that was known of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct BranchRemoved {
    /// Its name, which is free again.
    pub name: BranchName,
    /// How many terminals it had.
    pub terminals: u64,
}

/// A branch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Branch {
    /// Its name.
    pub name: BranchName,
    /// Whether its server has enrolled.
    pub enrolled: bool,
    /// Since when its server's certificate is denied, if it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub denied: Option<DateTime<Utc>>,
    /// When its server was last heard.
    pub last_heard: Option<DateTime<Utc>>,
    /// Serial of its newest plan.
    pub plan_serial: Option<u64>,
    /// Why its server does not follow the newest plan that it was offered, if it refused one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan_refused: Option<Reason>,
    /// Why head office cannot read its newest plan, if it cannot. Serial, artifacts and confirmations are missing then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan_unreadable: Option<Reason>,
    /// What it is assigned, a product each.
    pub assignments: Vec<Assigned>,
    /// Its server's progress with each artifact of the plan.
    pub artifacts: Vec<BranchArtifact>,
    /// The space in its server's store; none before the first report of it, and none from a branch server itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub store: Option<BranchSpace>,
    /// How far its server's audit reaches; none before the first report of it, and none from a branch server itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audit: Option<BranchAudit>,
    /// How many terminals it has.
    pub terminals: u64,
    /// How many of them are confirmed on what the plan orders for their slots.
    pub confirmed: u64,
}

/// The space in a branch server's store, as the branch server last reported it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct BranchSpace {
    /// How many bytes artifacts may take in all.
    pub capacity_bytes: u64,
    /// How many bytes a new artifact may take.
    pub free_bytes: u64,
    /// How many bytes the artifacts there take.
    pub held_bytes: u64,
    /// When head office received the report.
    pub reported: DateTime<Utc>,
}

/// How far a branch server's audit reaches, as the branch server last reported it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct BranchAudit {
    /// Its last row.
    pub head: Head,
    /// When that was, by the branch's clock, but never after head office's.
    pub at: DateTime<Utc>,
    /// The last time that a report contradicted the one before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cut: Option<AuditCut>,
}

/// An audit that was cut back or rewritten.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct AuditCut {
    /// When head office noticed.
    pub noticed: DateTime<Utc>,
    /// How far it had reached.
    pub kept: Head,
    /// The number of the last row that was reported then; that of `kept` if this row was another one.
    pub found: u64,
}

/// An assignment in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Assigned {
    /// The product.
    pub product: ProductName,
    /// The version that the branch is to run.
    pub version: Version,
}

/// An artifact on its way to a branch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct BranchArtifact {
    /// Which artifact.
    pub artifact: fleet_types::Digest,
    /// Of which product.
    pub product: ProductName,
    /// Of which version.
    pub version: Version,
    /// Its length in bytes.
    pub length: u64,
    /// Bytes held and verified at the branch.
    pub have_bytes: u64,
    /// Whether all of it is there.
    pub complete: bool,
    /// What keeps it from getting on, if anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<Reason>,
}

/// A terminal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Terminal {
    /// Its branch.
    pub branch: BranchName,
    /// Its name.
    pub name: TerminalName,
    /// Its hardware model.
    pub model: ModelName,
    /// Size in bytes of its smaller slot.
    pub slot_bytes: u64,
    /// Version of its agent.
    pub agent_version: String,
    /// The running slot; unknown until its first report.
    pub slot: Option<Slot>,
    /// The running version; unknown until its first report.
    pub version: Option<Version>,
    /// Its newest update, if there was one.
    pub update: Option<TerminalUpdate>,
    /// When it was last heard.
    pub last_heard: Option<DateTime<Utc>>,
    /// Since when its branch server denies it, if it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub denied: Option<DateTime<Utc>>,
    /// Why it does not follow the plan that its branch server offers, if it refuses that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan_refused: Option<Reason>,
    /// By which key its states are proven, 64 hexadecimal digits; none before it enrolled with one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Another key that its branch server says it has now: an operator decides (`filial terminal accept-key`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked_key: Option<String>,
    /// Its packages, by product and name: told of one terminal, not in lists.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub packages: Vec<TerminalPackage>,
}

/// A terminal was removed, with everything that head office knew of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct TerminalRemoved {
    /// Its branch.
    pub branch: BranchName,
    /// Its name.
    pub name: TerminalName,
    /// Whether it is denied from now on too: head office remembers it, and tells the servers of its branch.
    #[serde(default)]
    pub denied: bool,
}

/// A terminal's new key is to be believed from now on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AcceptKey {
    /// The key that its branch server told: 64 hexadecimal digits.
    pub key: String,
    /// Why; kept in the audit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// A package of a terminal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct TerminalPackage {
    /// The product.
    pub product: ProductName,
    /// The version.
    pub version: Version,
    /// The payload's name in the manifest.
    pub name: String,
    /// The payload's digest.
    pub payload: fleet_types::Digest,
    /// Bytes of the artifact that were there when it was last told.
    pub have_bytes: u64,
    /// Bytes of the artifact in all.
    pub total_bytes: u64,
    /// It is unpacked and was checked.
    pub complete: bool,
    /// What keeps it from getting on, if anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<Reason>,
    /// Since when it stands so, by the terminal's clock.
    pub since: DateTime<Utc>,
}

/// The newest update of a terminal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct TerminalUpdate {
    /// The plan it comes from.
    pub serial: u64,
    /// The product.
    pub product: ProductName,
    /// The version being installed.
    pub version: Version,
    /// Where it stands.
    pub state: UpdateState,
    /// Segments written and checked.
    pub segments_done: u64,
    /// Segments in all.
    pub segments_total: u64,
    /// Why, or what it waits for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// Since when, by the terminal's clock.
    pub since: DateTime<Utc>,
    /// Its moves, oldest first. Head office's lists show the newest twenty without reasons, one terminal's resource all of them; a
    /// branch server shows all, the newest three with reasons.
    pub history: Vec<Move>,
    /// What is left of its failed boot, if it was rolled back: told of one terminal, not in lists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<BootEvidence>,
}

/// One move of an update.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Move {
    /// From; none for the first.
    pub from: Option<UpdateState>,
    /// To.
    pub to: UpdateState,
    /// When, by the terminal's clock.
    pub at: DateTime<Utc>,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
}

/// This branch shall run this release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Assign {
    /// The branch.
    pub branch: BranchName,
    /// The product.
    pub product: ProductName,
    /// The version; it must be published.
    pub version: Version,
    /// Allow a version below the running one.
    #[serde(default)]
    pub downgrade: bool,
}

/// The plan that came of an assignment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct PlanIssued {
    /// The branch.
    pub branch: BranchName,
    /// The plan's serial.
    pub serial: u64,
    /// The terminals that it names.
    pub terminals: Vec<TerminalName>,
}
