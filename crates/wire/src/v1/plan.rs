//! The plan: head office's statement of which terminals of one branch run which release, in what order.

use chrono::{DateTime, Utc};
use fleet_types::{BranchName, Digest, InfoHash, ProductName, TerminalName, Version};
use serde::{Deserialize, Serialize};

use super::audit::Head;

/// A plan for one branch. Travels inside an [`crate::Envelope`] of type [`crate::PLAN_PAYLOAD_TYPE`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Plan {
    /// 1.
    pub format: u32,
    /// Whose plan it is.
    pub branch: BranchName,
    /// Rises with every plan of this branch: `max(last + 1, Unix milliseconds)`.
    pub serial: u64,
    /// When head office made it.
    pub issued: DateTime<Utc>,
    /// After this it is not accepted any more.
    pub expires: DateTime<Utc>,
    /// What to do, in this order: slot images, one after the other.
    pub steps: Vec<Step>,
    /// The packages that terminals hold, by product and payload name. They are not steps of a slot: nothing of a
    /// slot waits for one, and an agent that knows nothing of packages leaves them alone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub packages: Vec<Step>,
    /// How far head office's audit reached when it made the plan: every branch keeps a copy of the chain's end, which head
    /// office cannot take back. None from a head office that knew no audit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audit: Option<Head>,
}

impl Plan {
    /// Everything that the plan names: the steps in their order, then the packages.
    pub fn entries(&self) -> impl Iterator<Item = &Step> {
        self.steps.iter().chain(&self.packages)
    }
}

/// One release for some terminals of the branch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Step {
    /// The terminals, each by name: a terminal acts only on a step that names it.
    pub terminals: Vec<TerminalName>,
    /// The product.
    pub product: ProductName,
    /// The version.
    pub version: Version,
    /// SHA-256 of `release.toml`.
    pub manifest: Digest,
    /// What ends up in the slot, or is unpacked.
    pub payload: PayloadRef,
    /// What travels.
    pub artifact: ArtifactRef,
    /// The version may lie below the installed one. Says nothing of a package.
    #[serde(default)]
    pub downgrade: bool,
}

/// A payload by content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct PayloadRef {
    /// Its name in the manifest.
    pub name: String,
    /// SHA-256 of the payload: the last word on what is in the slot, or was unpacked.
    pub sha256: Digest,
    /// Its length in bytes.
    pub length: u64,
}

/// An artifact by content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ArtifactRef {
    /// SHA-256 of the whole artifact file.
    pub sha256: Digest,
    /// Its length in bytes.
    pub length: u64,
    /// SHA-256 of its index (header and segment table).
    pub index_sha256: Digest,
    /// Length of its index in bytes.
    pub index_length: u64,
    /// Its BitTorrent v1 info hash.
    pub info_hash: InfoHash,
}

impl ArtifactRef {
    /// The file name under which every store and torrent has it.
    pub fn file_name(&self) -> String {
        format!("{}.seg", self.sha256)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_without_packages_reads_and_is_written_as_before_there_were_any() {
        let text = r#"{"format":1,"branch":"north","serial":7,"issued":"2030-01-01T00:00:00Z","expires":"2030-02-01T00:00:00Z","steps":[]}"#;
        let plan: Plan = serde_json::from_str(text).unwrap();
        assert_eq!(plan.entries().count(), 0);
        assert_eq!(serde_json::to_string(&plan).unwrap(), text);
    }
}
