//! What a request's head says. It comes from a process that may have been taken over, and is read in two passes: first which
//! verb, then exactly its fields. An enum that serde reads by its tag would first hold everything as values of any kind, and
//! 32 MiB of `[0,0,…` become a gigabyte of them.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use fleet_types::{Digest, ProductName, Slot};
use serde::de::{self, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, de::IgnoredAny};
use wire::{Envelope, Signature};

use crate::model::request::{Evidence, Order, Request};

/// Most files of metadata that come with a plan.
///
/// The four roles, old root files, and a few a product.
pub const MAX_FILES: usize = 4096;

/// Most signatures of a plan that are read here; how many it may have is judged later.
pub const MAX_SIGNATURES: usize = 64;

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Verb {
    Look,
    Accept,
    Activate,
    CheckRunning,
    Settle,
    Confirm,
    GiveUp,
    Restart,
    Length,
    Write,
    Read,
    Sync,
    DropCaches,
}

#[derive(Deserialize)]
struct Asked {
    ask: Verb,
}

/// A verb without fields.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Bare {
    #[serde(rename = "ask")]
    _ask: IgnoredAny,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Accept {
    #[serde(rename = "ask")]
    _ask: IgnoredAny,
    #[serde(deserialize_with = "files")]
    metadata: BTreeMap<String, String>,
    plan: Plan,
}

/// An envelope, with as many signatures as are sensible.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Plan {
    #[serde(rename = "payloadType")]
    payload_type: String,
    payload: String,
    #[serde(deserialize_with = "signatures")]
    signatures: Vec<Signature>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Activate {
    #[serde(rename = "ask")]
    _ask: IgnoredAny,
    product: ProductName,
    manifest: Digest,
    payload: Digest,
}

impl From<Activate> for Order {
    fn from(Activate { product, manifest, payload, .. }: Activate) -> Self {
        Self { product, manifest, payload }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Length {
    #[serde(rename = "ask")]
    _ask: IgnoredAny,
    slot: Slot,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Write {
    #[serde(rename = "ask")]
    _ask: IgnoredAny,
    offset: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Read {
    #[serde(rename = "ask")]
    _ask: IgnoredAny,
    offset: u64,
    length: u32,
}

impl Request {
    /// What a head asks for.
    ///
    /// # Errors
    /// Not a valid request: another verb, a field too many or too few, or not JSON.
    pub fn read(head: &[u8]) -> serde_json::Result<Self> {
        let bare = |request| serde_json::from_slice::<Bare>(head).map(|_| request);
        match serde_json::from_slice::<Asked>(head)?.ask {
            Verb::Look => bare(Self::Look),
            Verb::Settle => bare(Self::Settle),
            Verb::Confirm => bare(Self::Confirm),
            Verb::GiveUp => bare(Self::GiveUp),
            Verb::Restart => bare(Self::Restart),
            Verb::Sync => bare(Self::Sync),
            Verb::DropCaches => bare(Self::DropCaches),
            Verb::Length => serde_json::from_slice(head).map(|Length { slot, .. }| Self::Length { slot }),
            Verb::Write => serde_json::from_slice(head).map(|Write { offset, .. }| Self::Write { offset }),
            Verb::Read => serde_json::from_slice(head).map(|Read { offset, length, .. }| Self::Read { offset, length }),
            Verb::Activate => serde_json::from_slice(head).map(|order: Activate| Self::Activate(order.into())),
            Verb::CheckRunning => serde_json::from_slice(head).map(|order: Activate| Self::CheckRunning(order.into())),
            Verb::Accept => serde_json::from_slice(head).map(|Accept { metadata, plan, .. }| {
                let Plan { payload_type, payload, signatures } = plan;
                Self::Accept(Evidence { metadata, plan: Envelope { payload_type, payload, signatures } })
            }),
        }
    }
}

fn files<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeMap<String, String>, D::Error> {
    from.deserialize_map(MetadataFiles)
}

fn signatures<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Signature>, D::Error> {
    from.deserialize_seq(Few(PhantomData))
}

struct MetadataFiles;

impl<'de> Visitor<'de> for MetadataFiles {
    type Value = BTreeMap<String, String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at most {MAX_FILES} files by name")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut files = BTreeMap::new();
        while let Some((name, text)) = map.next_entry()? {
            if files.len() == MAX_FILES {
                return Err(de::Error::invalid_length(MAX_FILES + 1, &self));
            }
            files.insert(name, text);
        }
        Ok(files)
    }
}

struct Few<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for Few<T> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at most {MAX_SIGNATURES} signatures")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut all: A) -> Result<Self::Value, A::Error> {
        let mut few = Vec::new();
        while let Some(one) = all.next_element()? {
            if few.len() == MAX_SIGNATURES {
                return Err(de::Error::invalid_length(MAX_SIGNATURES + 1, &self));
            }
            few.push(one);
        }
        Ok(few)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_says_nothing_more_and_nothing_less_than_it_may() {
        for text in [
            r#"{"ask":"write","offset":1,"slot":"A"}"#,
            r#"{"ask":"write"}"#,
            r#"{"ask":"write","offset":1,"offset":2}"#,
            r#"{"ask":"write","offset":-1}"#,
            r#"{"ask":"read","offset":1,"length":4294967296}"#,
            r#"{"ask":"look","ask":"restart"}"#,
            r#"{"ask":"look","x":0}"#,
            r#"{"ask":"look"} {"ask":"restart"}"#,
            r#"{"ask":"restart-now"}"#,
            r#"{"ask":"Look"}"#,
            r#"{"ask":["look"]}"#,
            "[]",
            "",
        ] {
            assert!(Request::read(text.as_bytes()).is_err(), "{text}");
        }
        assert_eq!(Request::read(br#" {"offset":7, "ask":"write"}"#).unwrap(), Request::Write { offset: 7 });
    }

    #[test]
    fn more_files_or_signatures_than_are_sensible_are_not_held() {
        let accept = |files: usize, signatures: usize| {
            let files: Vec<_> = (0..files).map(|n| format!(r#""{n}":"""#)).collect();
            let signatures = vec![r#"{"keyid":"","sig":""}"#; signatures].join(",");
            let plan = format!(r#"{{"payloadType":"","payload":"","signatures":[{signatures}]}}"#);
            Request::read(format!(r#"{{"ask":"accept","metadata":{{{}}},"plan":{plan}}}"#, files.join(",")).as_bytes())
        };
        assert!(matches!(accept(MAX_FILES, MAX_SIGNATURES), Ok(Request::Accept(_))));
        assert!(accept(MAX_FILES + 1, 0).unwrap_err().to_string().contains("at most 4096 files"));
        assert!(accept(0, MAX_SIGNATURES + 1).unwrap_err().to_string().contains("at most 64 signatures"));
    }
}
