//! An attacker who writes metadata by hand and signs it with stolen keys.

use std::collections::BTreeMap;

use aws_lc_rs::digest::{SHA256, digest};
use olpc_cjson::CanonicalFormatter;
use serde::Serialize as _;
use serde_json::{Value, json};
use trust::SigningKey;

/// The files that the attacker serves, and head office's stolen online keys.
#[derive(Debug)]
pub struct Attacker<'a> {
    /// The files of metadata, by name.
    pub files: BTreeMap<String, Vec<u8>>,
    /// The keys of role `snapshot`.
    pub snapshot: &'a [SigningKey],
    /// The keys of role `timestamp`.
    pub timestamp: &'a [SigningKey],
}

/// Returns metadata of an unreleased payload.
pub fn evil_target() -> Value {
    json!({"length": 6, "hashes": {"sha256": "66".repeat(32)}, "custom": {"manifest": "67".repeat(32)}})
}

/// The bytes that a signature covers: canonical JSON, as TUF has it (TUF 1.0, 4.2.1).
pub fn canonical(value: &Value) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut to = serde_json::Serializer::with_formatter(&mut bytes, CanonicalFormatter::new());
    value.serialize(&mut to).expect("any value has a canonical form");
    bytes
}

/// SHA-256 as lower-case hexadecimal digits.
pub fn hash(bytes: &[u8]) -> String {
    hex::encode(digest(&SHA256, bytes))
}

impl Attacker<'_> {
    /// The newest file of a role, as a name and what it says.
    ///
    /// # Panics
    /// There is no such metadata.
    pub fn find(&self, role: &str) -> (String, Value) {
        let name = self
            .files
            .keys()
            .rfind(|n| **n == format!("{role}.json") || n.ends_with(&format!(".{role}.json")))
            .unwrap_or_else(|| panic!("there is no file of role {role}"));
        (name.clone(), content(&self.files[name])["signed"].clone())
    }

    /// Changes what a role says, as its next version, signed by `keys`.
    ///
    /// # Panics
    /// There is no file of this role.
    pub fn forge(&mut self, role: &str, keys: &[SigningKey], edit: impl FnOnce(&mut Value)) {
        let (name, mut signed) = self.find(role);
        self.files.remove(&name);
        signed["version"] = json!(signed["version"].as_u64().unwrap_or_default() + 1);
        edit(&mut signed);
        let name = if role == "timestamp" {
            "timestamp.json".to_owned()
        } else {
            format!("{}.{role}.json", signed["version"])
        };
        self.files.insert(name, sign(&signed, keys));
    }

    /// A snapshot and timestamp over all that is there, with the stolen online keys.
    ///
    /// # Panics
    /// There was no snapshot or timestamp.
    pub fn sealed(mut self) -> BTreeMap<String, Vec<u8>> {
        let mut meta = serde_json::Map::new();
        for (name, bytes) in &self.files {
            let Some((version, role)) = name.split_once('.') else { continue };
            if !["root.json", "snapshot.json", "json"].contains(&role) {
                // The version that the name says, whatever the file says.
                let mut listed = entry(bytes);
                listed["version"] = json!(version.parse::<u64>().unwrap_or_default());
                meta.insert(role.to_owned(), listed);
            }
        }
        let (snapshot, timestamp) = (self.snapshot, self.timestamp);
        self.forge("snapshot", snapshot, |s| s["meta"] = Value::Object(meta));
        let (name, _) = self.find("snapshot");
        let of = entry(&self.files[&name]);
        self.forge("timestamp", timestamp, |t| t["meta"] = json!({"snapshot.json": of}));
        self.files
    }
}

/// A file that `keys` sign, as far as it can be signed.
fn sign(signed: &Value, keys: &[SigningKey]) -> Vec<u8> {
    let message = canonical(signed);
    let sign = |k: &SigningKey| json!({"keyid": k.public().id(), "sig": hex::encode(k.sign(&message))});
    let signatures: Vec<_> = keys.iter().map(sign).collect();
    json!({"signed": signed, "signatures": signatures}).to_string().into_bytes()
}

/// How a file is listed in the one above it.
fn entry(bytes: &[u8]) -> Value {
    json!({"version": content(bytes)["signed"]["version"], "length": bytes.len(), "hashes": {"sha256": hash(bytes)}})
}

fn content(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).expect("a file of metadata is JSON")
}
