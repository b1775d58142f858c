//! Who a machine is: X.509 certificates of the fleet's own authority, and TLS that demands them.
//!
//! Head office holds the authority. Each branch server has an intermediate (three years, no further authority below it) that
//! issues its terminals' certificates (90 days) and its own. Who somebody is stands in exactly one DNS name:
//!
//! | machine | DNS name | may be |
//! | --- | --- | --- |
//! | head office | `SUFFIX` | server |
//! | branch server | `BRANCH.SUFFIX` | server and client |
//! | terminal | `TERMINAL.BRANCH.SUFFIX` | client |
//!
//! Name constraints would not bind (webpki rejects some, and DNS ones do not bind a leaf without a name), so [`check_chain`]
//! compares the leaf's branch with the branch that stands in the intermediate.

mod check;
mod files;
mod issue;
mod join;
mod time;
mod tls;

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Utc};
use fleet_types::{BranchName, TerminalName};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::refusal::{Refusal, Why, refuse};

pub use check::{Checked, DenyList, Purpose, check_chain, fingerprint, validity};
pub use files::{
    AUTHORITY_FILE, certificate_from_pem, certificate_to_pem, read_anchor, read_public, request_from_pem,
    request_to_pem,
};
pub use issue::{
    Authority, BRANCH_LIFETIME, Chain, LEAF_LIFETIME, MAX_CERTIFICATE, ROOT_LIFETIME, TlsKey, request_key,
    request_signer,
};
pub use join::JoinToken;
pub use time::{FleetTime, Times};
pub use tls::{Anchor, Clients, Denied, Peer, client_config, nobody_denied, people_config, server_config};

/// Longest suffix in bytes, so that a terminal's whole name has at most 253 (RFC 1035, 2.3.4).
const MAX_SUFFIX: usize = 253 - 2 * 33;

/// The domain below which the fleet's names stand, such as `fleet.example`: lower-case DNS labels.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Suffix(String);

impl Suffix {
    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for Suffix {
    /// `filial.internal`, which every fleet uses: whose names they are is told by the authority that they lead to, and a name
    /// that need not be agreed on cannot be set differently at two ends. `.internal` is nobody's in public DNS.
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
            format!("{given:?} is no domain of lower-case labels and at most {MAX_SUFFIX} bytes."),
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

/// Who a certificate says that somebody is.
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
    /// The one DNS name of this identity.
    pub fn dns_name(&self, suffix: &Suffix) -> String {
        match self {
            Self::HeadOffice => suffix.to_string(),
            Self::Branch(branch) => format!("{branch}.{suffix}"),
            Self::Terminal(branch, terminal) => format!("{terminal}.{branch}.{suffix}"),
        }
    }

    /// The identity of a DNS name: the reverse of [`Identity::dns_name`].
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
            Refusal::new(Why::CertificateName, format!("{given:?} is no machine's name below {suffix}."))
        })
    }

    /// The branch that it belongs to.
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

/// How much of its life a certificate that is renewed over the network has left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Age {
    /// Nothing is to be done.
    Young,
    /// Two thirds of its life are over: a new one is to be asked for.
    Old,
    /// It convinces nobody any more, or not yet; only its key does.
    Over,
}

impl Age {
    /// Of a certificate that is valid `from` … `until`. One that is over by the floor alone may still convince somebody, and is
    /// old.
    pub fn of((from, until): (DateTime<Utc>, DateTime<Utc>), times: Times) -> Self {
        let is_valid = |now: DateTime<Utc>| (from..until).contains(&now);
        match times {
            Times { clock, latest } if !is_valid(latest) && !is_valid(clock) => Self::Over,
            Times { latest, .. } if latest < from + (until - from) / 3 * 2 => Self::Young,
            _ => Self::Old,
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
