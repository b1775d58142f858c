//! `policy.toml`: the parameters of the rules.

use std::collections::BTreeMap;

use fleet_types::ModelName;
use serde::{Deserialize, Serialize};

use crate::freeze::{FreezePeriod, UtcOffset};
use crate::image::FileSystem;
use crate::limits::Limits;

/// Most freezes of a calendar.
const MAX_PERIODS: usize = 100;
/// Maximum words of the external command.
const MAX_WORDS: usize = 64;

/// Why a policy was refused.
#[derive(Debug, thiserror::Error)]
#[error("policy.toml is not valid: {why}\nCorrect the setting, or omit it to use the default")]
pub struct PolicyError {
    why: String,
}

impl PolicyError {
    /// What is wrong, without the name of a file: the caller knows which it read.
    pub fn why(&self) -> &str {
        &self.why
    }
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
    /// Parameters of `branch-space`.
    #[serde(rename = "branch-space")]
    pub branch_space: BranchSpacePolicy,
    /// Parameters of `size-growth`.
    #[serde(rename = "size-growth")]
    pub size_growth: SizeGrowthPolicy,
    /// Parameters of `freeze-calendar`.
    #[serde(rename = "freeze-calendar")]
    pub freeze_calendar: FreezeCalendarPolicy,
    /// Parameters of `external`.
    pub external: ExternalPolicy,
    /// Models declared in addition to those of enrolled terminals.
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
    /// Whether an older unpublished version may follow a newer one: 2.3.9 after 2.4.0.
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

/// Parameters of `branch-space`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BranchSpacePolicy {
    /// Expected size of an artifact in per cent of its payload.
    ///
    /// The true size is known only after encoding. 1 to 1,000.
    pub artifact_percent: u32,
}

impl Default for BranchSpacePolicy {
    fn default() -> Self {
        // Incompressible payloads, such as a compressed squashfs, stay as large as they are.
        Self { artifact_percent: 100 }
    }
}

/// Parameters of `size-growth`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SizeGrowthPolicy {
    /// Warn if the payloads are larger than so many per cent of the previous release's.
    ///
    /// 1 to 100,000.
    pub warn_above_percent: u32,
}

impl Default for SizeGrowthPolicy {
    fn default() -> Self {
        Self { warn_above_percent: 200 }
    }
}

/// Parameters of `freeze-calendar`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FreezeCalendarPolicy {
    /// The offset from UTC in which the periods are written; summer time is not known.
    pub utc_offset: UtcOffset,
    /// The freezes.
    #[serde(rename = "period")]
    pub periods: Vec<FreezePeriod>,
}

/// Parameters of `external`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ExternalPolicy {
    /// The program's absolute path and its arguments. Empty: no command, and the rule passes.
    pub command: Vec<String>,
    /// The user that runs it: a name in `/etc/passwd`, never root.
    pub user: String,
    /// How long it may take, in seconds. 1 to 600.
    pub timeout_seconds: u32,
    /// Maximum bytes of its answer. 1 to 1,048,576.
    pub max_output_bytes: u32,
}

impl Default for ExternalPolicy {
    fn default() -> Self {
        Self { command: Vec::new(), user: "nobody".to_owned(), timeout_seconds: 30, max_output_bytes: 64 * 1024 }
    }
}

/// A declared model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeclaredModel {
    /// Size of its smaller slot, in bytes.
    pub slot_bytes: u64,
}

impl Policy {
    /// Reads `policy.toml`.
    ///
    /// # Errors
    /// It is not TOML, or has a setting that is unknown or of the wrong type.
    pub fn parse(text: &str) -> Result<Self, PolicyError> {
        let policy: Self = toml::from_str(text)
            .map_err(|e: toml::de::Error| PolicyError { why: e.to_string().trim_end().to_owned() })?;
        policy.check()?;
        Ok(policy)
    }

    /// Checks that values are within their bounds.
    ///
    /// # Errors
    /// A value is out of its bounds.
    pub fn check(&self) -> Result<(), PolicyError> {
        let within = |value: u32, low: u32, high: u32, key: &str| {
            let why = || format!("{key} = {value} must be {low} to {high}");
            if (low..=high).contains(&value) { Ok(()) } else { Err(PolicyError { why: why() }) }
        };
        within(self.branch_space.artifact_percent, 1, 1000, "[branch-space] artifact_percent")?;
        within(self.size_growth.warn_above_percent, 1, 100_000, "[size-growth] warn_above_percent")?;
        let ExternalPolicy { command, user, timeout_seconds, max_output_bytes } = &self.external;
        within(*timeout_seconds, 1, 600, "[external] timeout_seconds")?;
        within(*max_output_bytes, 1, 1 << 20, "[external] max_output_bytes")?;
        let refuse = |why: &str| Err(PolicyError { why: why.to_owned() });
        if command.first().is_some_and(|program| !program.starts_with('/')) {
            return refuse("[external] command must begin with the absolute path of a program");
        }
        if command.iter().any(|word| word.contains('\0')) || command.len() > MAX_WORDS {
            return refuse("[external] command may have at most 64 words without NUL bytes");
        }
        if user.is_empty() || ["root", "0"].contains(&user.as_str()) {
            return refuse("[external] user must not be root");
        }
        let periods = &self.freeze_calendar.periods;
        if periods.len() > MAX_PERIODS {
            return refuse("[freeze-calendar] may have at most 100 periods");
        }
        for period in periods {
            within(period.lasts_hours, 1, 366 * 24, "[freeze-calendar] lasts_hours")?;
            if period.reason.trim().is_empty() || period.reason.len() > 200 || period.reason.contains(char::is_control)
            {
                return refuse("[freeze-calendar] reason must be one line of 1 to 200 bytes");
            }
        }
        Ok(())
    }

    /// Returns the limits for scanning an archive.
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
        let period = |line: &str| format!("[[freeze-calendar.period]]\nreason = \"Trade.\"\n{line}\n");
        for bad in [
            period("starts = \"0 0 18 24 12 *\"\nlasts_hours = 0"),
            period("starts = \"0 0 18 24 13 *\"\nlasts_hours = 1"),
            period("starts = \"Christmas\"\nlasts_hours = 1"),
            period("starts = \"0 0 18 24 12 *\"\nlasts_hours = 1").replace("Trade.", " "),
            "[freeze-calendar]\nutc_offset = \"Moscow\"\n".to_owned(),
            "[external]\ncommand = [\"check\"]\n".to_owned(),
            "[external]\nuser = \"root\"\n".to_owned(),
            "[external]\ntimeout_seconds = 0\n".to_owned(),
            "[external]\nmax_output_bytes = 1048577\n".to_owned(),
            "[branch-space]\nartifact_percent = 0\n".to_owned(),
            "[size-growth]\nwarn_above_percent = 0\n".to_owned(),
        ] {
            let message = Policy::parse(&bad).expect_err(&bad).to_string();
            assert!(message.contains("policy.toml"), "{message}");
        }
        for bad in ["[no-such-rule]\n", "[fits-slot]\nheadrom_bytes = 1\n", "[models]\nKIOSK = { slot_bytes = 1 }\n"] {
            let message = Policy::parse(bad).unwrap_err().to_string();
            assert!(message.contains("policy.toml"), "{message}");
        }
    }
}
