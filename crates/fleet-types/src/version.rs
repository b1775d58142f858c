//! Versions of releases: Semantic Versioning 2.0.0.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize};

/// Longest version text in bytes.
pub const MAX_VERSION_LEN: usize = 64;

/// Why a version or a range was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VersionError {
    /// Over 64 bytes.
    #[error("a version has at most 64 characters, this one has {0}")]
    TooLong(usize),
    /// Not a semantic version.
    #[error("{given:?} is not a semantic version such as 2.4.0: {why}")]
    NotSemver {
        /// What was given.
        given: String,
        /// What the parser says.
        why: String,
    },
    /// Not a range of semantic versions.
    #[error("{given:?} is not a version range such as >=2.2.0: {why}")]
    NotRange {
        /// What was given.
        given: String,
        /// What the parser says.
        why: String,
    },
}

/// A semantic version. Ordered by precedence, then by build metadata, so that the order is total.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, utoipa::ToSchema)]
#[serde(transparent)]
#[schema(value_type = String, example = "2.4.0")]
pub struct Version(semver::Version);

impl Version {
    /// A plain `major.minor.patch`.
    pub const fn new(major: u64, minor: u64, patch: u64) -> Self {
        Self(semver::Version::new(major, minor, patch))
    }
}

impl FromStr for Version {
    type Err = VersionError;
    fn from_str(s: &str) -> Result<Self, VersionError> {
        if s.len() > MAX_VERSION_LEN {
            return Err(VersionError::TooLong(s.len()));
        }
        semver::Version::parse(s)
            .map(Self)
            .map_err(|e| VersionError::NotSemver { given: s.to_owned(), why: e.to_string() })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<'de> Deserialize<'de> for Version {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

/// What must be installed for a release to be a legal step, such as `>=2.2.0`.
///
/// A pre-release counts as its place in the order (2.3.0-rc.1 satisfies `>=2.2.0`): a terminal that runs one
/// must not be stranded, unlike Cargo's reading of the same text.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, utoipa::ToSchema)]
#[serde(transparent)]
#[schema(value_type = String, example = ">=2.2.0")]
pub struct VersionRange(semver::VersionReq);

impl VersionRange {
    /// Whether `version` lies in the range.
    pub fn contains(&self, version: &Version) -> bool {
        let release = semver::Version::new(version.0.major, version.0.minor, version.0.patch);
        self.0.matches(&version.0) || (!version.0.pre.is_empty() && self.pre_release_fits(&version.0, &release))
    }

    fn pre_release_fits(&self, pre: &semver::Version, release: &semver::Version) -> bool {
        // A pre-release of exactly a bound lies below it: `>=2.2.0` must not admit 2.2.0-rc.1.
        let below_bound = self.0.comparators.iter().any(|c| {
            let bound = semver::Version {
                major: c.major,
                minor: c.minor.unwrap_or(0),
                patch: c.patch.unwrap_or(0),
                pre: c.pre.clone(),
                build: semver::BuildMetadata::EMPTY,
            };
            let lower = !matches!(c.op, semver::Op::Less | semver::Op::LessEq);
            lower && *pre < bound
        });
        !below_bound && self.0.matches(release)
    }
}

impl FromStr for VersionRange {
    type Err = VersionError;
    fn from_str(s: &str) -> Result<Self, VersionError> {
        if s.len() > MAX_VERSION_LEN {
            return Err(VersionError::TooLong(s.len()));
        }
        semver::VersionReq::parse(s)
            .map(Self)
            .map_err(|e| VersionError::NotRange { given: s.to_owned(), why: e.to_string() })
    }
}

impl fmt::Display for VersionRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<'de> Deserialize<'de> for VersionRange {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v(s: &str) -> Version {
        s.parse().unwrap()
    }

    #[test]
    fn versions_order_by_precedence() {
        let mut all = [v("2.0.0"), v("1.10.0"), v("1.9.0"), v("2.0.0-rc.1")];
        all.sort();
        assert_eq!(all.map(|v| v.to_string()), ["1.9.0", "1.10.0", "2.0.0-rc.1", "2.0.0"]);
    }

    #[test]
    fn ranges_admit_pre_releases_by_their_place() {
        let range: VersionRange = ">=2.2.0".parse().unwrap();
        for (version, inside) in
            [("2.2.0", true), ("2.3.0-rc.1", true), ("2.2.0-rc.1", false), ("2.1.9", false), ("3.0.0-a", true)]
        {
            assert_eq!(range.contains(&v(version)), inside, "{version}");
        }
    }

    #[test]
    fn nonsense_is_refused_with_the_text_in_the_message() {
        assert!("2.4".parse::<Version>().unwrap_err().to_string().contains("\"2.4\""));
        assert!("x>1".parse::<VersionRange>().is_err());
        assert_eq!("1".repeat(65).parse::<Version>(), Err(VersionError::TooLong(65)));
    }
}
