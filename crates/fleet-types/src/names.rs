//! Names that operators choose. All share one alphabet, so that a name can stand in a URL, a file name,
//! a DNS label and an interface label without escaping.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize};

/// Longest name in bytes.
///
/// A DNS label allows 63 (RFC 1035, 2.3.4); 32 keeps `terminal.branch.…` readable.
pub const MAX_NAME_LEN: usize = 32;

/// Why a name was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind} {given:?} must be {form}")]
pub struct NameError {
    kind: &'static str,
    given: String,
    form: &'static str,
}

const FORM: &str = "1 to 32 of a-z, 0-9 and '-', beginning and ending with a letter or digit";

fn check(kind: &'static str, given: &str) -> Result<(), NameError> {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    let edge = |b: Option<&u8>| b.is_some_and(|b| *b != b'-');
    let bytes = given.as_bytes();
    if bytes.len() <= MAX_NAME_LEN && bytes.iter().all(|b| inner(*b)) && edge(bytes.first()) && edge(bytes.last()) {
        return Ok(());
    }
    Err(refused(kind, given, FORM))
}

fn refused(kind: &'static str, given: &str, form: &'static str) -> NameError {
    // A refused name may be long and hostile: the message carries only its beginning.
    NameError { kind, given: given.chars().take(2 * MAX_NAME_LEN).collect(), form }
}

macro_rules! name {
    ($(#[$doc:meta])* $type:ident, $kind:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, utoipa::ToSchema)]
        #[serde(transparent)]
        #[schema(value_type = String, pattern = "^[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?$")]
        pub struct $type(String);

        impl $type {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $type {
            type Err = NameError;
            fn from_str(s: &str) -> Result<Self, NameError> {
                check($kind, s)?;
                Ok(Self(s.to_owned()))
            }
        }

        impl TryFrom<String> for $type {
            type Error = NameError;
            fn try_from(s: String) -> Result<Self, NameError> {
                s.parse()
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl AsRef<str> for $type {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

name!(
    /// A branch office. Unique in the fleet.
    BranchName,
    "branch name"
);
name!(
    /// A terminal. Unique within its branch.
    TerminalName,
    "terminal name"
);
name!(
    /// A product: a line of releases.
    ProductName,
    "product name"
);
name!(
    /// A hardware model, as `compatible` in a manifest names it.
    ModelName,
    "model name"
);
name!(
    /// An operator of head office: a person, or a service that acts by tokens alone.
    OperatorName,
    "operator name"
);

/// A terminal in the fleet, written `branch/terminal`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, utoipa::ToSchema)]
pub struct TerminalRef {
    /// Its branch.
    pub branch: BranchName,
    /// Its name within the branch.
    pub terminal: TerminalName,
}

impl fmt::Display for TerminalRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.branch, self.terminal)
    }
}

impl FromStr for TerminalRef {
    type Err = NameError;
    fn from_str(s: &str) -> Result<Self, NameError> {
        let whole = "written BRANCH/NAME, such as north/till-1";
        let (branch, terminal) = s.split_once('/').ok_or_else(|| refused("terminal", s, whole))?;
        Ok(Self { branch: branch.parse()?, terminal: terminal.parse()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_dns_labels_in_lower_case() {
        for good in ["a", "till-1", "kiosk-x86-64", &"a".repeat(32)] {
            assert_eq!(good.parse::<BranchName>().map(|n| n.to_string()), Ok(good.to_owned()));
        }
        for bad in ["", "-a", "a-", "A", "a_b", "a/b", "филиал", "..", &"a".repeat(33)] {
            assert!(bad.parse::<BranchName>().is_err(), "{bad:?} was accepted");
        }
    }

    #[test]
    fn a_hostile_name_does_not_swell_the_message() {
        let message = "x/".repeat(100_000).parse::<TerminalName>().unwrap_err().to_string();
        assert!(message.len() < 300, "{} bytes", message.len());
    }

    #[test]
    fn a_terminal_ref_needs_both_halves() {
        let t: TerminalRef = "north/till-1".parse().unwrap();
        assert_eq!(t.to_string(), "north/till-1");
        let half = "north".parse::<TerminalRef>().unwrap_err().to_string();
        assert_eq!(half, "terminal \"north\" must be written BRANCH/NAME, such as north/till-1");
        assert!("north/a/b".parse::<TerminalRef>().is_err());
    }
}
