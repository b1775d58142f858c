//! Names of machines: the fleet's suffix, and the identity that a DNS name states.

use std::fmt;
use std::str::FromStr;

use fleet_types::{BranchName, TerminalName};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::refusal::{Refusal, Why, refuse};

/// Longest suffix in bytes; limits a terminal's name to 253 (RFC 1035, 2.3.4).
const MAX_SUFFIX: usize = 253 - 2 * 33;

/// The domain of the fleet's names, such as `fleet.example`: lower-case DNS labels.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Suffix(String);

impl Suffix {
    /// The suffix as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for Suffix {
    /// Returns `filial.internal`, which every fleet uses.
    ///
    /// The authority tells fleets apart, so the name needs no configuration. `.internal` is reserved in public DNS.
    fn default() -> Self {
        Self("filial.internal".to_owned())
    }
}

impl FromStr for Suffix {
    type Err = Refusal;
    fn from_str(s: &str) -> Result<Self, Refusal> {
        let label = |l: &str| {
            let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
            !l.is_empty() && l.len() <= 63 && l.bytes().all(inner) && !l.starts_with('-') && !l.ends_with('-')
        };
        if s.len() <= MAX_SUFFIX && s.split('.').all(label) {
            return Ok(Self(s.to_owned()));
        }
        let given: String = s.chars().take(100).collect();
        refuse(
            Why::CertificateName,
            format!("{given:?} is not a domain of lower-case labels with at most {MAX_SUFFIX} bytes."),
        )
    }
}

impl fmt::Display for Suffix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl Serialize for Suffix {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Suffix {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

/// The identity that a certificate states.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Identity {
    /// Head office.
    HeadOffice,
    /// A branch server.
    Branch(BranchName),
    /// A terminal of a branch.
    Terminal(BranchName, TerminalName),
}

impl Identity {
    /// Returns the DNS name of this identity.
    pub fn dns_name(&self, suffix: &Suffix) -> String {
        match self {
            Self::HeadOffice => suffix.to_string(),
            Self::Branch(branch) => format!("{branch}.{suffix}"),
            Self::Terminal(branch, terminal) => format!("{terminal}.{branch}.{suffix}"),
        }
    }

    /// Parses a DNS name, the reverse of [`Identity::dns_name`].
    ///
    /// # Errors
    /// Not a name of this fleet.
    pub fn from_dns_name(name: &str, suffix: &Suffix) -> Result<Self, Refusal> {
        let read = || {
            if name == suffix.as_str() {
                return Some(Self::HeadOffice);
            }
            let before = name.strip_suffix(suffix.as_str())?.strip_suffix('.')?;
            match before.split('.').collect::<Vec<_>>()[..] {
                [branch] => Some(Self::Branch(branch.parse().ok()?)),
                [terminal, branch] => Some(Self::Terminal(branch.parse().ok()?, terminal.parse().ok()?)),
                _ => None,
            }
        };
        read().ok_or_else(|| {
            let given: String = name.chars().take(300).collect();
            Refusal::new(Why::CertificateName, format!("{given:?} is not the name of a machine below {suffix}."))
        })
    }

    /// The branch of this identity, if any.
    pub const fn branch(&self) -> Option<&BranchName> {
        match self {
            Self::HeadOffice => None,
            Self::Branch(branch) | Self::Terminal(branch, _) => Some(branch),
        }
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::HeadOffice => f.write_str("head office"),
            Self::Branch(branch) => write!(f, "branch {branch}"),
            Self::Terminal(branch, terminal) => write!(f, "terminal {branch}/{terminal}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_identities_are_the_same_both_ways() {
        let suffix: Suffix = "fleet.example".parse().unwrap();
        for (name, text) in [
            ("fleet.example", "head office"),
            ("north.fleet.example", "branch north"),
            ("till-1.north.fleet.example", "terminal north/till-1"),
        ] {
            let identity = Identity::from_dns_name(name, &suffix).unwrap();
            assert_eq!((identity.dns_name(&suffix), identity.to_string()), (name.to_owned(), text.to_owned()));
        }
        for bad in [
            "",
            ".fleet.example",
            "a.b.c.fleet.example",
            "north.fleet.example.",
            "northfleet.example",
            "*.fleet.example",
            "North.fleet.example",
            "north.fleet.example.evil",
        ] {
            assert!(Identity::from_dns_name(bad, &suffix).is_err(), "{bad}");
        }
        for bad in ["", "Fleet.example", "fleet..example", "-a.example", "*.example", &"a.".repeat(100)] {
            assert!(bad.parse::<Suffix>().is_err(), "{bad}");
        }
    }
}
