//! `release.toml` as serde reads it, before its parts are checked against each other.

use fleet_types::{Digest, ModelName, ProductName, Version, VersionRange};
use serde::Deserialize;

use crate::manifest::{Manifest, ManifestError, Payload, PayloadKind, PayloadName};
use crate::path::MemberPath;

/// A manifest as written by hand: `pack` fills in `size` and `sha256`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Draft {
    format: u32,
    pub(crate) product: ProductName,
    pub(crate) version: Version,
    #[serde(default)]
    min_agent: Option<Version>,
    #[serde(default)]
    requires: Option<VersionRange>,
    #[serde(default)]
    notes: String,
    #[serde(default)]
    pub(crate) payload: Vec<DraftPayload>,
}

/// A payload of a [`Draft`].
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct DraftPayload {
    pub(crate) name: PayloadName,
    pub(crate) kind: PayloadKind,
    #[serde(default)]
    compatible: Vec<ModelName>,
    // Text, so that an unsafe path is distinguished from a syntax error.
    pub(crate) file: String,
    pub(crate) size: Option<u64>,
    pub(crate) sha256: Option<Digest>,
    #[serde(default)]
    run: Vec<String>,
    #[serde(default)]
    restart: Vec<String>,
    #[serde(default)]
    health: Vec<String>,
}

/// Read first, so that a later format is reported as such and not as a schema error.
#[derive(Deserialize)]
struct Probe {
    format: i64,
}

impl Draft {
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, ManifestError> {
        let text = std::str::from_utf8(bytes).map_err(|_| ManifestError::NotUtf8)?;
        let not_schema = |e: toml::de::Error| ManifestError::NotSchema {
            toml: text.parse::<toml::Table>().is_ok(),
            line: e
                .span()
                .map_or(1, |s| text.as_bytes()[..s.start.min(text.len())].iter().filter(|b| **b == b'\n').count() + 1),
            why: fleet_types::printable(&e.message().chars().take(300).collect::<String>()),
        };
        let probe: Probe = toml::from_str(text).map_err(not_schema)?;
        if probe.format != 1 {
            return Err(ManifestError::Format(probe.format));
        }
        toml::from_str(text).map_err(not_schema)
    }

    /// Returns the finished manifest; `filled` has each payload's size and digest, in order.
    pub(crate) fn finish(&self, filled: &[(u64, Digest)]) -> Result<Manifest, ManifestError> {
        let payload = |(p, (size, sha256)): (&DraftPayload, &(u64, Digest))| {
            Ok(Payload {
                name: p.name.clone(),
                kind: p.kind,
                compatible: p.compatible.clone(),
                file: p.path()?,
                size: *size,
                sha256: *sha256,
                run: p.run.clone(),
                restart: p.restart.clone(),
                health: p.health.clone(),
            })
        };
        let manifest = Manifest {
            format: self.format,
            product: self.product.clone(),
            version: self.version.clone(),
            min_agent: self.min_agent.clone(),
            requires: self.requires.clone(),
            notes: self.notes.clone(),
            payloads: self.payload.iter().zip(filled).map(payload).collect::<Result<_, ManifestError>>()?,
        };
        manifest.check()?;
        Ok(manifest)
    }
}

impl DraftPayload {
    pub(crate) fn path(&self) -> Result<MemberPath, ManifestError> {
        self.file.parse().map_err(|why| ManifestError::Path { payload: self.name.clone(), why })
    }

    /// Returns size and digest, both required.
    pub(crate) fn filled(&self) -> Result<(u64, Digest), ManifestError> {
        let missing = |field| ManifestError::Missing { payload: self.name.clone(), field };
        Ok((self.size.ok_or_else(|| missing("size"))?, self.sha256.ok_or_else(|| missing("sha256"))?))
    }
}

impl Manifest {
    /// Reads a manifest.
    ///
    /// Bounds on its length are the caller's ([`crate::Limits::max_manifest_bytes`]).
    ///
    /// # Errors
    /// It is not TOML, not of this format, has a field that is unknown, missing or out of its bounds, or its parts
    /// contradict each other.
    pub fn parse(bytes: &[u8]) -> Result<Self, ManifestError> {
        let draft = Draft::parse(bytes)?;
        let filled = draft.payload.iter().map(DraftPayload::filled).collect::<Result<Vec<_>, _>>()?;
        draft.finish(&filled)
    }
}
