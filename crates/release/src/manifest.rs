//! `release.toml`: what a release is and what it delivers.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use fleet_types::{Digest, ModelName, ProductName, Version, VersionRange};
use serde::{Deserialize, Deserializer, Serialize};

use crate::path::{MemberPath, UnsafePath, show};

/// The manifest's name in an archive; always its first member.
pub const MANIFEST_NAME: &str = "release.toml";

/// Most payloads of one release.
pub(crate) const MAX_PAYLOADS: usize = 64;
/// Most models of one payload.
const MAX_MODELS: usize = 256;
/// Longest notes, in characters.
const MAX_NOTES: usize = 20_000;
/// Most words of a command.
const MAX_WORDS: usize = 64;
/// Longest word of a command in bytes.
const MAX_WORD_LEN: usize = 1024;

/// Why a manifest was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// Over the length limit.
    #[error("release.toml has {bytes} bytes; the limit is {limit}")]
    TooLong {
        /// Its length.
        bytes: u64,
        /// The limit.
        limit: u64,
    },
    /// Not UTF-8.
    #[error("release.toml is not UTF-8")]
    NotUtf8,
    /// Not TOML, or not this schema.
    #[error("release.toml, line {line}: {why}")]
    NotSchema {
        /// Whether it is TOML at all.
        toml: bool,
        /// The line, from 1.
        line: usize,
        /// What the parser says.
        why: String,
    },
    /// Of an unknown format.
    #[error("release.toml has format = {0}; this program reads format 1")]
    Format(i64),
    /// A payload lacks a field that `filial release pack` fills in.
    #[error("payload {payload} has no {field}")]
    Missing {
        /// Which payload.
        payload: PayloadName,
        /// `size` or `sha256`.
        field: &'static str,
    },
    /// A payload's `file` is not a safe path.
    #[error("payload {payload}: {why}")]
    Path {
        /// Which payload.
        payload: PayloadName,
        /// Why not.
        #[source]
        why: UnsafePath,
    },
    /// Not representable as TOML, such as a size beyond 63 bits.
    #[error("cannot serialise release.toml: {0}")]
    Unwritable(String),
    /// Contradictory parts.
    #[error("{why}")]
    Contradiction {
        /// Which of them.
        code: &'static str,
        /// The contradiction.
        why: String,
    },
}

impl ManifestError {
    /// Its stable code, in kebab case.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::TooLong { .. } => "manifest-too-long",
            Self::NotUtf8 => "manifest-not-utf8",
            Self::NotSchema { toml: false, .. } => "manifest-not-toml",
            Self::NotSchema { toml: true, .. } => "manifest-schema",
            Self::Format(_) => "manifest-format",
            Self::Missing { .. } => "payload-not-filled-in",
            Self::Path { why, .. } => why.code(),
            Self::Unwritable(_) => "manifest-unwritable",
            Self::Contradiction { code, .. } => code,
        }
    }
}

/// Why a payload's name was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("payload name {0} must be 1 to 32 characters of a-z, 0-9 and '-', starting and ending with a letter or digit")]
pub struct PayloadNameError(String);

/// A payload's name: the alphabet of every other name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct PayloadName(String);

impl PayloadName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for PayloadName {
    type Err = PayloadNameError;
    fn from_str(s: &str) -> Result<Self, PayloadNameError> {
        // One alphabet for all names: the product's rule is the payload's.
        let name: ProductName = s.parse().map_err(|_| PayloadNameError(show(s.as_bytes())))?;
        Ok(Self(name.to_string()))
    }
}

impl fmt::Display for PayloadName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl<'de> Deserialize<'de> for PayloadName {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

/// What a payload is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PayloadKind {
    /// A terminal's root file system, written to a slot as it is.
    SlotImage,
    /// Programs and libraries of the branch server, as a tar.
    ComponentTree,
    /// Files and a command for terminals, as a tar.
    Package,
}

impl PayloadKind {
    /// The kind as `release.toml` writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SlotImage => "slot-image",
            Self::ComponentTree => "component-tree",
            Self::Package => "package",
        }
    }
}

impl fmt::Display for PayloadKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A valid manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Manifest {
    /// 1.
    pub format: u32,
    /// The product.
    pub product: ProductName,
    /// The version.
    pub version: Version,
    /// The oldest agent that can install it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_agent: Option<Version>,
    /// Versions from which this release may be installed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requires: Option<VersionRange>,
    /// Release notes. May be empty: the rule `notes-present` judges that.
    pub notes: String,
    /// The payloads; never empty.
    #[serde(rename = "payload")]
    pub payloads: Vec<Payload>,
}

/// One thing that a release delivers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Payload {
    /// Its name, unique in the release.
    pub name: PayloadName,
    /// What it is.
    pub kind: PayloadKind,
    /// The hardware models it is for.
    pub compatible: Vec<ModelName>,
    /// Its file in the archive, unique in the release.
    pub file: MemberPath,
    /// Its length in bytes.
    pub size: u64,
    /// Its digest.
    pub sha256: Digest,
    /// `package` only: the command that installs it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub run: Vec<String>,
    /// `package` only: the units to restart.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub restart: Vec<String>,
    /// `package` only: the command that says whether it works.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub health: Vec<String>,
}

impl Manifest {
    /// Serialises it as `release.toml`: identical text for identical manifests.
    ///
    /// # Errors
    /// A number is too large for TOML.
    pub fn to_toml(&self) -> Result<String, ManifestError> {
        toml::to_string(self).map_err(|e| ManifestError::Unwritable(e.to_string()))
    }

    /// The slot image that is for `model`; there is at most one.
    pub fn slot_image_for(&self, model: &ModelName) -> Option<&Payload> {
        self.slot_images().find(|p| p.compatible.contains(model))
    }

    /// The payloads of kind `slot-image`.
    pub fn slot_images(&self) -> impl Iterator<Item = &Payload> {
        self.payloads.iter().filter(|p| p.kind == PayloadKind::SlotImage)
    }

    pub(crate) fn check(&self) -> Result<(), ManifestError> {
        let no = |code, why: String| Err(ManifestError::Contradiction { code, why });
        if self.payloads.is_empty() || self.payloads.len() > MAX_PAYLOADS {
            return no(
                "payload-count",
                format!("release.toml has {} payloads; 1 to {MAX_PAYLOADS} are allowed", self.payloads.len()),
            );
        }
        if self.notes.chars().count() > MAX_NOTES {
            return no("notes-too-long", format!("the notes have more than {MAX_NOTES} characters"));
        }
        if let Some(c) = self.notes.chars().find(|c| c.is_control() && !matches!(c, '\n' | '\r' | '\t')) {
            return no("notes-control", format!("the notes contain the control character U+{:04X}", u32::from(c)));
        }
        let (mut names, mut files, mut models) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        for payload in &self.payloads {
            payload.check()?;
            if !names.insert(&payload.name) {
                return no("payload-name-twice", format!("two payloads are named {}", payload.name));
            }
            // Where a payload is unpacked, upper and lower case may be one.
            if !files.insert(payload.file.as_str().to_lowercase()) {
                return no("payload-file-twice", format!("two payloads have the file {}", payload.file));
            }
            if let Some(other) = self.payloads.iter().find(|other| payload.file.is_above(&other.file)) {
                let why = format!("{} cannot be both a file and the folder of {}", payload.file, other.file);
                return no("payload-file-within", why);
            }
            let slot_image = payload.kind == PayloadKind::SlotImage;
            if let Some(model) = payload.compatible.iter().find(|m| slot_image && !models.insert(*m)) {
                return no("model-twice", format!("model {model} is listed by two slot images"));
            }
        }
        Ok(())
    }
}

impl Payload {
    fn check(&self) -> Result<(), ManifestError> {
        let no = |code, why: String| {
            Err(ManifestError::Contradiction { code, why: format!("payload {}: {why}", self.name) })
        };
        if self.file.as_str() == MANIFEST_NAME {
            return no("payload-file-manifest", format!("its file cannot be {MANIFEST_NAME}"));
        }
        if self.size == 0 {
            return no("payload-size-zero", "its size is 0".into());
        }
        if self.compatible.len() > MAX_MODELS {
            return no("models-too-many", format!("more than {MAX_MODELS} models in compatible"));
        }
        if self.kind == PayloadKind::SlotImage && self.compatible.is_empty() {
            return no("models-missing", "a slot image needs at least one model in compatible".into());
        }
        let commands = [("run", &self.run), ("restart", &self.restart), ("health", &self.health)];
        for (field, words) in commands {
            if !words.is_empty() && self.kind != PayloadKind::Package {
                return no("command-misplaced", format!("only a package may have {field}"));
            }
            let bad = |w: &String| w.is_empty() || w.len() > MAX_WORD_LEN || w.contains('\0');
            if words.len() > MAX_WORDS || words.iter().any(bad) {
                return no(
                    "command-words",
                    format!("{field} takes at most {MAX_WORDS} words of 1 to {MAX_WORD_LEN} bytes"),
                );
            }
        }
        if self.kind == PayloadKind::Package && self.run.is_empty() {
            return no("command-missing", "a package needs run, the command that installs it".into());
        }
        Ok(())
    }
}
