//! Digests as values: SHA-256 for content, SHA-1 for BitTorrent info hashes (BEP 3 prescribes it).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Why a digest's text was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected {expected} lower-case hexadecimal digits")]
pub struct ParseHexError {
    expected: usize,
}

macro_rules! digest {
    ($(#[$doc:meta])* $type:ident, $len:literal, $digits:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, utoipa::ToSchema)]
        #[schema(value_type = String, pattern = $digits)]
        pub struct $type([u8; $len]);

        impl $type {
            /// From the raw bytes of the hash.
            pub const fn new(bytes: [u8; $len]) -> Self {
                Self(bytes)
            }

            /// The raw bytes.
            pub const fn as_bytes(&self) -> &[u8; $len] {
                &self.0
            }

            /// The first eight digits: enough for a person to tell two apart.
            pub fn short(&self) -> String {
                hex::encode(&self.0[..4])
            }
        }

        impl From<[u8; $len]> for $type {
            fn from(bytes: [u8; $len]) -> Self {
                Self(bytes)
            }
        }

        impl FromStr for $type {
            type Err = ParseHexError;
            fn from_str(s: &str) -> Result<Self, ParseHexError> {
                let mut bytes = [0; $len];
                // One spelling only, so that two equal digests are equal as text too.
                if s.bytes().any(|b| b.is_ascii_uppercase()) || hex::decode_to_slice(s, &mut bytes).is_err() {
                    return Err(ParseHexError { expected: 2 * $len });
                }
                Ok(Self(bytes))
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&hex::encode(self.0))
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($type), self.short())
            }
        }

        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

digest!(
    /// A SHA-256 digest (FIPS 180-4), written as 64 lower-case hexadecimal digits.
    Digest,
    32,
    "^[0-9a-f]{64}$"
);
digest!(
    /// A BitTorrent v1 info hash: the SHA-1 of the bencoded info dictionary (BEP 3), 40 hexadecimal digits.
    InfoHash,
    20,
    "^[0-9a-f]{40}$"
);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn text_round_trips(bytes: [u8; 32]) {
            let d = Digest::new(bytes);
            prop_assert_eq!(d.to_string().parse::<Digest>(), Ok(d));
            prop_assert_eq!(serde_json::from_str::<Digest>(&serde_json::to_string(&d).unwrap()).unwrap(), d);
        }

        #[test]
        fn anything_else_is_refused(s in ".{0,70}") {
            let ok = s.len() == 64 && s.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
            prop_assert_eq!(s.parse::<Digest>().is_ok(), ok);
        }
    }

    #[test]
    fn upper_case_is_refused() {
        assert!("A".repeat(64).parse::<Digest>().is_err());
        assert!("a".repeat(64).parse::<Digest>().is_ok());
        assert_eq!(
            "a".repeat(39).parse::<InfoHash>().unwrap_err().to_string(),
            "expected 40 lower-case hexadecimal digits"
        );
    }
}
