//! Somebody who writes metadata by hand and signs it with the keys that were stolen.
#![allow(dead_code, clippy::unwrap_used, missing_docs, reason = "each test uses a part of it")]

use std::collections::BTreeMap;

use aws_lc_rs::digest::{SHA256, digest};
use olpc_cjson::CanonicalFormatter;
use serde::Serialize as _;
use serde_json::{Value, json};
use trust::SigningKey;

use crate::mirror::Mirror;

pub struct Attacker<'a> {
    pub files: BTreeMap<String, Vec<u8>>,
    pub snapshot: &'a [SigningKey],
    pub timestamp: &'a [SigningKey],
}

pub fn canonical(value: &Value) -> Vec<u8> {
    let mut bytes = Vec::new();
    value.serialize(&mut serde_json::Serializer::with_formatter(&mut bytes, CanonicalFormatter::new())).unwrap();
    bytes
}

pub fn hash(bytes: &[u8]) -> String {
    hex::encode(digest(&SHA256, bytes))
}

pub fn sign(signed: &Value, keys: &[SigningKey]) -> Vec<u8> {
    let message = canonical(signed);
    let sign = |k: &SigningKey| json!({"keyid": k.public().id(), "sig": hex::encode(k.sign(&message))});
    let signatures: Vec<_> = keys.iter().map(sign).collect();
    serde_json::to_vec(&json!({"signed": signed, "signatures": signatures})).unwrap()
}

impl Attacker<'_> {
    /// The file of a role, as a name and what it says.
    pub fn find(&self, role: &str) -> (String, Value) {
        let name = self
            .files
            .keys()
            .rfind(|n| **n == format!("{role}.json") || n.ends_with(&format!(".{role}.json")))
            .unwrap();
        let file: Value = serde_json::from_slice(&self.files[name]).unwrap();
        (name.clone(), file["signed"].clone())
    }

    /// Changes what a role says, as its next version, signed by `keys`.
    pub fn forge(&mut self, role: &str, keys: &[SigningKey], edit: impl FnOnce(&mut Value)) {
        let (name, mut signed) = self.find(role);
        self.files.remove(&name);
        signed["version"] = json!(signed["version"].as_u64().unwrap() + 1);
        edit(&mut signed);
        let name = if role == "timestamp" {
            "timestamp.json".to_owned()
        } else {
            format!("{}.{role}.json", signed["version"])
        };
        self.files.insert(name, sign(&signed, keys));
    }

    /// A snapshot and timestamp over all that is there, with the stolen online keys.
    pub fn sealed(mut self) -> Mirror {
        let mut meta = serde_json::Map::new();
        for (name, bytes) in &self.files {
            let Some((version, role)) = name.split_once('.') else { continue };
            if !["root.json", "snapshot.json", "json"].contains(&role) {
                // The version that the name says, whatever the file says.
                let mut listed = entry(bytes);
                listed["version"] = json!(version.parse::<u64>().unwrap());
                meta.insert(role.to_owned(), listed);
            }
        }
        let (snapshot, timestamp) = (self.snapshot, self.timestamp);
        self.forge("snapshot", snapshot, |s| s["meta"] = Value::Object(meta));
        let (name, _) = self.find("snapshot");
        let of = entry(&self.files[&name]);
        self.forge("timestamp", timestamp, |t| t["meta"] = json!({"snapshot.json": of}));
        Mirror { files: self.files, ..Mirror::default() }
    }
}

fn entry(bytes: &[u8]) -> Value {
    let file: Value = serde_json::from_slice(bytes).unwrap();
    json!({"version": file["signed"]["version"], "length": bytes.len(), "hashes": {"sha256": hash(bytes)}})
}
