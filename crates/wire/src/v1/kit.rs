//! The kit: what a branch whose link is down needs, carried to it by hand, and its reports back.
//!
//! Its origin earns no trust: the importer verifies it as if it had come over the link.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, Utc};
use fleet_types::{BranchName, Digest};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::reports::Batch;
use crate::Envelope;

/// The format that is written and read.
pub const KIT_FORMAT: u32 = 1;

/// Longest [`Kit`] as JSON, in bytes. A branch of 100 artifacts of 8 GiB needs about 14 MB.
pub const MAX_KIT: usize = 32 * 1024 * 1024;

/// Everything but the artifacts' own bytes, which lie beside it or are sent after it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Kit {
    /// [`KIT_FORMAT`].
    pub format: u32,
    /// For which branch.
    pub branch: BranchName,
    /// When head office wrote it.
    pub made_at: DateTime<Utc>,
    /// The newest plan of the branch, exactly as head office sealed it; none before the first assignment.
    pub plan: Option<Envelope>,
    /// The files of the signed metadata, by name.
    #[schema(value_type = BTreeMap<String, String>)]
    pub metadata: BTreeMap<String, Blob>,
    /// What belongs to the plan's artifacts.
    pub artifacts: Vec<CarriedArtifact>,
    /// The manifests that the plan names, by digest.
    #[schema(value_type = BTreeMap<String, String>)]
    pub manifests: BTreeMap<Digest, Blob>,
}

/// An artifact that a kit carries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct CarriedArtifact {
    /// Which.
    pub artifact: Digest,
    /// Bytes of its file.
    pub length: u64,
    /// Its index.
    #[schema(value_type = String)]
    pub index: Blob,
    /// Its torrent, with head office's tracker.
    #[schema(value_type = String)]
    pub torrent: Blob,
}

/// Bytes; in JSON as base64 (RFC 4648, 4).
#[derive(Clone, PartialEq, Eq)]
pub struct Blob(pub Vec<u8>);

impl std::fmt::Debug for Blob {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

impl Serialize for Blob {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Blob {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        STANDARD.decode(text).map(Self).map_err(serde::de::Error::custom)
    }
}

/// What a branch server made of a kit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Imported {
    /// The serial of the plan that the branch follows now; none if it has none.
    pub serial: Option<u64>,
    /// The plan came with this kit; false if it was here before, or none came.
    pub new_plan: bool,
    /// Version of the newest timestamp role that it believes now.
    pub metadata: Option<u64>,
    /// The kit's artifacts that the branch has use for: their files are to be sent, in this order.
    pub wants: Vec<WantedArtifact>,
}

/// An artifact that a branch server takes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct WantedArtifact {
    /// Which.
    pub artifact: Digest,
    /// Bytes of its file.
    pub length: u64,
}

/// The reports that wait at a branch, as they would have gone over the link.
#[derive(Debug, Clone, Serialize, Deserialize, utoipa::ToSchema)]
pub struct CarriedReports {
    /// Whose.
    pub branch: BranchName,
    /// The oldest first; at most [`super::reports::MAX_BATCH`] of them.
    pub batch: Batch,
}
