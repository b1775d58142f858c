//! `policy.toml`: the parameters of the rules.

use std::collections::BTreeMap;

use fleet_types::ModelName;
use serde::{Deserialize, Serialize};

use crate::image::FileSystem;
use crate::limits::Limits;

/// Why a policy was refused.
#[derive(Debug, thiserror::Error)]
#[error("policy.toml cannot be read: {why}\nCorrect the setting, or leave it out for its default")]
pub struct PolicyError {
    why: String,
}

/// The parameters of the rules. Every one has a default, so an empty file is a policy.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Policy {
    /// Parameters of `archive-shape`.
    #[serde(rename = "archive-shape")]
    pub archive_shape: ArchiveShapePolicy,
    /// Parameters of `image-magic`.
    #[serde(rename = "image-magic")]
    pub image_magic: ImageMagicPolicy,
    /// Parameters of `version-newer`.
    #[serde(rename = "version-newer")]
    pub version_newer: VersionNewerPolicy,
    /// Parameters of `fits-slot`.
    #[serde(rename = "fits-slot")]
    pub fits_slot: FitsSlotPolicy,
    /// Parameters of `notes-present`.
    #[serde(rename = "notes-present")]
    pub notes_present: NotesPresentPolicy,
    /// Models that the shop declares beside those of enrolled terminals, for releases that come before them.
    pub models: BTreeMap<ModelName, DeclaredModel>,
}

/// Parameters of `archive-shape`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ArchiveShapePolicy {
    /// Longest archive in bytes.
    pub max_archive_bytes: u64,
    /// Most members.
    pub max_members: u64,
}

impl Default for ArchiveShapePolicy {
    fn default() -> Self {
        let limits = Limits::default();
        Self { max_archive_bytes: limits.max_archive_bytes, max_members: limits.max_members }
    }
}

/// Parameters of `image-magic`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ImageMagicPolicy {
    /// The file systems that a slot image may hold.
    pub file_systems: Vec<FileSystem>,
}

impl Default for ImageMagicPolicy {
    fn default() -> Self {
        Self { file_systems: vec![FileSystem::Squashfs, FileSystem::Ext4, FileSystem::Erofs] }
    }
}

/// Parameters of `version-newer`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct VersionNewerPolicy {
    /// Whether an older version that was never published may follow a newer one, such as 2.3.9 after 2.4.0.
    pub older_lines: bool,
}

#[expect(clippy::derivable_impls, reason = "the default is a decision, so it is written out")]
impl Default for VersionNewerPolicy {
    fn default() -> Self {
        Self { older_lines: false }
    }
}

/// Parameters of `fits-slot`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FitsSlotPolicy {
    /// How many bytes of a slot must stay free.
    pub headroom_bytes: u64,
}

/// Parameters of `notes-present`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NotesPresentPolicy {
    /// How many characters the notes must have, white space at the ends not counted.
    pub min_characters: u64,
}

impl Default for NotesPresentPolicy {
    fn default() -> Self {
        Self { min_characters: 1 }
    }
}

/// A model that the shop declares.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeclaredModel {
    /// Size of its smaller slot in bytes.
    pub slot_bytes: u64,
}

impl Policy {
    /// Reads `policy.toml`.
    ///
    /// # Errors
    /// It is not TOML, or has a setting that is unknown or of the wrong type.
    pub fn parse(text: &str) -> Result<Self, PolicyError> {
        toml::from_str(text).map_err(|e: toml::de::Error| PolicyError { why: e.to_string().trim_end().to_owned() })
    }

    /// The bounds to scan an archive under.
    pub fn limits(&self) -> Limits {
        Limits {
            max_archive_bytes: self.archive_shape.max_archive_bytes,
            max_members: self.archive_shape.max_members,
            ..Limits::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_file_is_the_default_policy() {
        let policy = Policy::parse("").unwrap();
        assert_eq!(policy, Policy::default());
        assert_eq!(policy.limits(), Limits::default());
    }

    #[test]
    fn settings_are_read_and_unknown_ones_refused() {
        let policy = Policy::parse(
            "[archive-shape]\nmax_members = 5\n[image-magic]\nfile_systems = [\"erofs\"]\n\
             [models]\nkiosk-arm64 = { slot_bytes = 1000 }\n",
        )
        .unwrap();
        assert_eq!(policy.limits().max_members, 5);
        assert_eq!(policy.image_magic.file_systems, [FileSystem::Erofs]);
        assert_eq!(policy.models.len(), 1);
        for bad in ["[no-such-rule]\n", "[fits-slot]\nheadrom_bytes = 1\n", "[models]\nKIOSK = { slot_bytes = 1 }\n"] {
            let message = Policy::parse(bad).unwrap_err().to_string();
            assert!(message.contains("policy.toml"), "{message}");
        }
    }
}
