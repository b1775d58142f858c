//! Releases as operators see them.

use std::fmt;

use chrono::{DateTime, Utc};
use fleet_types::{Digest, ProductName, ReleaseState, Version};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::plan::{ArtifactRef, PayloadRef};
use crate::reason::{Reason, ReasonCode, sentences};

/// How a rule judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// In order.
    Pass,
    /// Allowed once a named operator accepts it, with a reason.
    Warn,
    /// Could not be evaluated here; at head office it blocks publishing.
    Unknown,
    /// Not allowed.
    Fail,
}

impl Verdict {
    /// The verdict as text.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Warn => "warn",
            Self::Unknown => "unknown",
            Self::Fail => "fail",
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// One line of the checklist.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Finding {
    /// The rule's stable id, such as `fits-slot`.
    pub id: String,
    /// Its verdict.
    pub verdict: Verdict,
    /// What was found, as a stable code such as `archive-truncated`; of several things the first. Only on `fail`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// What was found, one sentence.
    pub cause: String,
    /// What to do; empty on `pass`.
    pub remedy: String,
}

/// The checklist of a release: every rule, in a fixed order.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Report {
    /// One finding a rule.
    pub findings: Vec<Finding>,
}

impl Report {
    /// The gravest verdict; `Pass` for an empty report.
    pub fn verdict(&self) -> Verdict {
        self.findings.iter().map(|f| f.verdict).max().unwrap_or(Verdict::Pass)
    }
}

/// A release in lists and by itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Release {
    /// Its id; also the id of its upload.
    pub id: Uuid,
    /// The product; unknown until the manifest was read.
    pub product: Option<ProductName>,
    /// The version; unknown until the manifest was read.
    pub version: Option<Version>,
    /// Where it stands.
    pub state: ReleaseState,
    /// Why it stands there, or what it waits for; empty if the state says all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reasons: Vec<Reason>,
    /// What the file was called when it was uploaded.
    pub file_name: String,
    /// Length of the archive in bytes.
    pub archive_bytes: u64,
    /// How many of them have arrived.
    pub received_bytes: u64,
    /// SHA-256 of the manifest.
    pub manifest: Option<Digest>,
    /// The checklist, once validated.
    pub report: Option<Report>,
    /// Who of the product's release keys signed it, once signatures were posted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signatures: Option<Signatures>,
    /// Its payloads and what became of them.
    pub payloads: Vec<ReleasePayload>,
    /// What is being done now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<Progress>,
    /// When its upload began.
    pub created: DateTime<Utc>,
    /// When its state last changed.
    pub changed: DateTime<Utc>,
}

impl Release {
    /// Returns the sentences of its reasons; empty if the state says all.
    pub fn why(&self) -> String {
        sentences(&self.reasons)
    }

    /// Returns its reason with this code.
    pub fn reason(&self, code: ReasonCode) -> Option<&Reason> {
        self.reasons.iter().find(|r| r.code == code)
    }
}

/// How far the signatures of a release are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Signatures {
    /// The ids of the release keys whose signatures hold.
    pub signed_by: Vec<Digest>,
    /// How many of the product's release keys must sign.
    pub threshold: u32,
    /// How many more must.
    pub missing: u32,
}

/// A payload of a release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ReleasePayload {
    /// The payload.
    pub payload: PayloadRef,
    /// Its artifact, once encoded.
    pub artifact: Option<ArtifactRef>,
}

/// How far a long action is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Progress {
    /// What is being done: `validating`, `encoding`, `hashing`, `signing`, `listing`, `seeding`.
    pub step: String,
    /// How much is done, in `unit`.
    pub done: u64,
    /// How much there is.
    pub total: u64,
    /// `bytes` or `steps`.
    pub unit: String,
    /// Seconds left at the present rate, if that can be told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds_left: Option<u64>,
}

/// An operator accepts a release's warnings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Approve {
    /// Why the warnings are acceptable.
    pub reason: String,
}

/// An operator takes a release back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Withdraw {
    /// Why; kept with the release.
    pub reason: String,
}

/// A release was taken back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Withdrawn {
    /// The release.
    pub release: Release,
    /// How many branches it was assigned to; each has a new plan without it, unless `to_do` names it.
    pub branches: u64,
    /// What people must still do, if anything: branches keep unreadable plans, or release keys that head office does not hold
    /// still vouch for the release.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to_do: Option<String>,
}
