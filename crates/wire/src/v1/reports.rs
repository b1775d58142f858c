//! Reports upwards. A sender numbers its reports from 1 without gaps and repeats them until they are
//! acknowledged, so that each counts exactly once.

use std::net::IpAddr;

use chrono::{DateTime, Utc};
use fleet_types::{BranchName, Digest, ProductName, Slot, TerminalName, UpdateState, Version};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use super::audit::Head;
use super::evidence::{BootEvidence, Sentence, Word};
use super::sync::TerminalFacts;
pub use crate::reason::{Reason, ReasonCode};

/// Most reports in one request.
pub const MAX_BATCH: usize = 200;

/// Longest name of a payload in a report, in bytes.
pub const MAX_PAYLOAD_NAME: usize = 32;

/// Bytes of reports as JSON beyond which a sender puts no further report into a request. Well below the largest body that
/// a listener takes (1 MiB), with the largest report in mind.
pub const MAX_BATCH_BYTES: usize = 512 * 1024;

/// Most addresses in one report of a bad peer.
pub const MAX_ADDRESSES: usize = 64;

/// Some reports, in order.
#[derive(Debug, Clone, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Batch {
    /// Which numbering this is: changes when a sender lost its journal, or its receiver knows other reports under the same
    /// numbers, and begins again at 1.
    pub epoch: uuid::Uuid,
    /// The reports, rising by one.
    pub reports: Vec<Numbered>,
}

/// A report and its number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Numbered {
    /// 1, 2, 3 …
    pub seq: u64,
    /// When the thing happened, by the sender's clock.
    pub at: DateTime<Utc>,
    /// What happened.
    pub report: Report,
}

/// The receiver's answer: everything up to here is stored durably; forget it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Acknowledged {
    /// The highest number stored.
    pub through: u64,
    /// Reports up to there that do not count, at most [`MAX_BATCH`]. Older senders do not read it, and lose nothing by it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub not_taken: Vec<NotTaken>,
}

impl Acknowledged {
    /// Everything up to `through` counts.
    pub fn all(through: u64) -> Self {
        Self { through, not_taken: Vec::new() }
    }
}

/// A report that was read and does not count.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct NotTaken {
    /// Its number.
    pub seq: u64,
    /// Why, for programs.
    pub code: crate::Code,
    /// Why, for people, with what to do.
    pub text: String,
}

/// What is reported.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(remote = "Self", tag = "kind", rename_all = "kebab-case")]
pub enum Report {
    /// A terminal enrolled or its facts changed (branch to head office).
    TerminalSeen {
        /// The facts.
        facts: TerminalFacts,
        /// By which key its states are proven: 64 hexadecimal digits of an ed25519 key, told by the branch server that
        /// certified it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        key: Option<String>,
    },
    /// A terminal booted: what runs there (terminal, relayed by its branch).
    Running {
        /// Which terminal.
        terminal: TerminalName,
        /// The slot of its kernel command line.
        slot: Slot,
        /// What runs, out of the slot's os-release.
        version: Version,
    },
    /// An update moved to another state (terminal, relayed by its branch).
    Update {
        /// Which terminal.
        terminal: TerminalName,
        /// The update.
        update: UpdateReport,
    },
    /// How far the branch server is with an artifact.
    Artifact {
        /// Which artifact.
        artifact: Digest,
        /// Bytes verified on its disk.
        have_bytes: u64,
        /// Whether it is complete.
        complete: bool,
        /// What keeps it from getting on, if anything; an older sender's is one sentence.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        trouble: Option<Reason>,
    },
    /// The room in the branch server's store.
    Store {
        /// What artifacts may take in all, in bytes.
        capacity_bytes: u64,
        /// What a new artifact may take now, in bytes.
        free_bytes: u64,
        /// What the artifacts there take, in bytes.
        held_bytes: u64,
    },
    /// Whether the branch server refuses the plan that head office offers. Only changes are reported.
    PlanRefused {
        /// The serial of the refused plan; none if it could not even be read.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        serial: Option<u64>,
        /// Why; none when nothing is refused any more. An older sender's is one sentence.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<Reason>,
    },
    /// Whether a terminal refuses the plan that its branch server offers, or cannot begin what it orders (terminal, relayed by its
    /// branch). Only changes are reported.
    TerminalRefusesPlan {
        /// Which terminal.
        terminal: TerminalName,
        /// Why; none when nothing is refused any more.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<Reason>,
    },
    /// A package got on: it is fetched, complete, in trouble, or gone (terminal, relayed by its branch). Only changes are
    /// reported.
    Package {
        /// Which terminal.
        terminal: TerminalName,
        /// The package.
        package: PackageReport,
    },
    /// Bad data arrived and was thrown away (terminal, relayed by its branch; or the branch server itself).
    BadPeer {
        /// Which terminal; none: the branch server.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        terminal: Option<TerminalName>,
        /// Of which artifact.
        artifact: Digest,
        /// Who sent it: one of these, the likeliest first; at most [`MAX_ADDRESSES`]. The honest source stands among
        /// them if it sent at the time. Empty: no peer was seen sending.
        #[schema(value_type = Vec<String>)]
        addresses: Vec<IpAddr>,
        /// Bytes thrown away since the last such report.
        wasted_bytes: u64,
        /// It was the first address.
        certain: bool,
    },
    /// Numbers of reports were used twice: the machine was restored from a copy, or there are two (told by who noticed;
    /// relayed by its branch).
    NumbersReused {
        /// Which terminal; none: the branch server.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        terminal: Option<TerminalName>,
        /// How often since the last such report.
        times: u64,
    },
    /// An operator denied a terminal at its branch server, or allowed it again (branch to head office).
    TerminalDenied {
        /// Which terminal.
        terminal: TerminalName,
        /// Whether it is denied from now on.
        denied: bool,
    },
    /// How far the branch server's audit reaches. Head office keeps it, so that a chain that is cut back is noticed.
    AuditHead {
        /// Its last row.
        head: Head,
    },
    /// A kind that this version does not know; a newer sender reports it. The receiver acknowledges, counts and skips it.
    #[serde(skip)]
    Unknown(UnknownReport),
}

/// The kinds of [`Report`] that this version knows, as JSON names them.
const KINDS: [&str; 12] = [
    "terminal-seen",
    "running",
    "update",
    "artifact",
    "store",
    "plan-refused",
    "terminal-refuses-plan",
    "package",
    "bad-peer",
    "numbers-reused",
    "terminal-denied",
    "audit-head",
];

/// Longest kind of an unknown report that is shown, in bytes.
const MAX_KIND: usize = 64;

/// A report of a kind that this version does not know: the JSON as it was read, which is also what it is written as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownReport(Value);

impl UnknownReport {
    /// Returns its kind, for a log: printable, and at most 64 bytes.
    pub fn kind(&self) -> String {
        let kind = self.0.get("kind").and_then(Value::as_str).unwrap_or_default();
        fleet_types::printable(&kind[..kind.floor_char_boundary(MAX_KIND)])
    }
}

impl Serialize for Report {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Unknown(UnknownReport(json)) => json.serialize(s),
            // The derived function, not the trait's method of the same name.
            known => Self::serialize(known, s),
        }
    }
}

impl<'de> Deserialize<'de> for Report {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let json = Value::deserialize(d)?;
        match json.get("kind") {
            Some(Value::String(kind)) if !KINDS.contains(&kind.as_str()) => Ok(Self::Unknown(UnknownReport(json))),
            _ => Self::deserialize(json).map_err(D::Error::custom),
        }
    }
}

/// Where an update stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct UpdateReport {
    /// The plan it comes from.
    pub serial: u64,
    /// The product.
    pub product: ProductName,
    /// The version being installed.
    pub version: Version,
    /// The payload's digest.
    pub payload: Digest,
    /// The state before this one; none for the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<UpdateState>,
    /// The state now.
    pub state: UpdateState,
    /// Segments written and checked so far.
    pub segments_done: u64,
    /// Segments in all; 0 while unknown.
    pub segments_total: u64,
    /// Why, for `failed`, `rolled-back` and `withdrawn`; what it waits for, otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// The terminal's ed25519 signature of [`UpdateReport::statement`], as 128 hexadecimal digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proof: Option<String>,
    /// Where this state stands among those that the terminal signed; none from agents of earlier versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<Position>,
    /// What is left of the failed boot; with `rolled-back` only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<BootEvidence>,
}

/// Where a signed state stands among the others of its terminal.
///
/// A terminal may try again under the same plan, so that a state alone does not tell whether it came before or after another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Position {
    /// Rises with each state that the terminal signs, as milliseconds since 1970 or one more than the last, whichever is more: so it
    /// rises also after a clock went back, and in a data partition that was restored from a copy.
    pub number: u64,
    /// The terminal's ed25519 signature of [`UpdateReport::position_statement`], as 128 hexadecimal digits.
    pub proof: String,
}

impl Report {
    /// Returns the terminal that it is about; none for a branch server's own reports and those of unknown kinds.
    pub const fn terminal(&self) -> Option<&TerminalName> {
        match self {
            Self::TerminalSeen { facts, .. } => Some(&facts.name),
            Self::Running { terminal, .. }
            | Self::Update { terminal, .. }
            | Self::Package { terminal, .. }
            | Self::TerminalRefusesPlan { terminal, .. }
            | Self::TerminalDenied { terminal, .. } => Some(terminal),
            Self::BadPeer { terminal, .. } | Self::NumbersReused { terminal, .. } => terminal.as_ref(),
            Self::Artifact { .. }
            | Self::Store { .. }
            | Self::PlanRefused { .. }
            | Self::AuditHead { .. }
            | Self::Unknown(_) => None,
        }
    }
}

impl UpdateReport {
    /// What the terminal signs of this: that it is in this state with this update. Not when, why, and how far within the state,
    /// which a branch server may fold together while head office is away.
    pub fn statement(&self, branch: &BranchName, terminal: &TerminalName) -> String {
        let Self { serial, product, version, payload, state, .. } = self;
        // None of these can hold a line's end.
        format!("filial terminal-state 1\n{branch}\n{terminal}\n{serial}\n{product}\n{version}\n{payload}\n{state}\n")
    }

    /// What the terminal signs of this state's position. A separate statement beside [`UpdateReport::statement`], so that receivers
    /// of earlier versions count the state as ever.
    pub fn position_statement(&self, branch: &BranchName, terminal: &TerminalName, number: u64) -> String {
        format!("filial state-position 1\n{}{number}\n", self.statement(branch, terminal))
    }

    /// Whether `holds`, which judges a statement and its signature, is true of the state and of its position.
    pub fn proven(&self, branch: &BranchName, terminal: &TerminalName, holds: impl Fn(&str, &str) -> bool) -> bool {
        let state = self.proof.as_ref().is_some_and(|proof| holds(&self.statement(branch, terminal), proof));
        let stands = |p: &Position| holds(&self.position_statement(branch, terminal, p.number), &p.proof);
        state && self.position.as_ref().is_none_or(stands)
    }

    /// What the terminal signs of the evidence, if there is any: all of it, and of which state with which update it is.
    /// A separate statement beside [`UpdateReport::statement`]: a branch server can withhold it, the state is proven
    /// without it, and who knows nothing of it judges the state as ever.
    pub fn evidence_statement(&self, branch: &BranchName, terminal: &TerminalName) -> Option<String> {
        let BootEvidence { slot, tried, boot_id, source, note, lines, proof: _ } = self.evidence.as_ref()?;
        let state = self.statement(branch, terminal);
        let word = |w: &Option<Word>| w.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string);
        let (boot_id, source) = (word(boot_id), word(source));
        let note = note.as_ref().map(Sentence::as_str).unwrap_or_default();
        // None of these can hold a line's end, and what comes before the log has a fixed number of lines.
        let mut text = format!("filial boot-evidence 1\n{state}{slot}\n{tried}\n{boot_id}\n{source}\n{note}\n");
        for line in lines.lines() {
            text.push_str(line);
            text.push('\n');
        }
        Some(text)
    }
}

/// Where a package stands on a terminal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct PackageReport {
    /// The product.
    pub product: ProductName,
    /// The version.
    pub version: Version,
    /// The payload's name in the manifest; at most [`MAX_PAYLOAD_NAME`] bytes.
    pub name: String,
    /// The payload's digest.
    pub payload: Digest,
    /// Bytes of the artifact that are there, as last looked.
    pub have_bytes: u64,
    /// Bytes of the artifact in all.
    pub total_bytes: u64,
    /// It is unpacked and was checked: `terminal-agent run` runs commands in it.
    pub complete: bool,
    /// It was removed, because no plan names it any more.
    #[serde(default)]
    pub removed: bool,
    /// What keeps it from getting on, if anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<Reason>,
}

#[cfg(test)]
#[path = "reports_tests.rs"]
mod tests;
