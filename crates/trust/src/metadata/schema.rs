//! Reads and writes tough's types: bounded, canonical, with this fleet's keys and times.

use std::collections::BTreeSet;
use std::num::NonZeroU64;

use chrono::{DateTime, Utc};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tough::schema::decoded::{Decoded, Hex};
use tough::schema::key::Key;
use tough::schema::{Delegations, Role, RoleKeys, RoleType, Root, Signature, Signed, Targets};

use super::names::RoleName;
use crate::keys::{KeyId, KeySet, MAX_KEYS, PublicKey, sha256};
use crate::refusal::{Refusal, Why, refuse};

/// The version of the specification that our metadata follows.
pub(crate) const SPEC_VERSION: &str = "1.0.31";

/// The member of our timestamps that says when they were made.
pub(crate) const ISSUED: &str = "issued";

/// Largest root file in bytes.
pub const MAX_ROOT: u64 = 128 * 1024;
/// Largest timestamp file in bytes.
pub const MAX_TIMESTAMP: u64 = 16 * 1024;
/// Largest snapshot file in bytes: some 1,500 products.
pub const MAX_SNAPSHOT: u64 = 256 * 1024;
/// Largest targets file in bytes, of the top level or of a delegated role.
///
/// Some 10,000 payloads.
pub const MAX_TARGETS: u64 = 4 * 1024 * 1024;

/// Returns the size limit of a role's file.
pub(crate) const fn max_file(role: &RoleName) -> u64 {
    match role {
        RoleName::Root => MAX_ROOT,
        RoleName::Timestamp => MAX_TIMESTAMP,
        RoleName::Snapshot => MAX_SNAPSHOT,
        _ => MAX_TARGETS,
    }
}

/// A signature by a key id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoleSignature {
    /// Which key.
    pub keyid: KeyId,
    /// The signature over the canonical JSON, in hexadecimal digits.
    pub sig: String,
}

impl RoleSignature {
    pub(crate) fn to_tuf(&self) -> Result<Signature, Refusal> {
        let bytes = hex::decode(&self.sig).ok().filter(|b| b.len() == 64);
        let sig = bytes
            .ok_or_else(|| Refusal::new(Why::MetadataForm, "A signature must be 64 bytes in hexadecimal digits."))?;
        Ok(Signature { keyid: self.keyid.as_bytes().to_vec().into(), sig: sig.into() })
    }
}

/// Signed metadata and its exact bytes, whose digest the snapshot lists.
#[derive(Debug, Clone)]
pub(crate) struct File<T> {
    pub signed: Signed<T>,
    pub bytes: Vec<u8>,
}

impl<T: Role + Serialize + DeserializeOwned> File<T> {
    pub fn new(signed: Signed<T>) -> Result<Self, Refusal> {
        let bytes = serde_json::to_vec(&signed)
            .map_err(|e| Refusal::new(Why::MetadataForm, format!("Cannot serialise metadata: {e}.")))?;
        Ok(Self { signed, bytes })
    }

    pub fn read(role: &RoleName, bytes: &[u8]) -> Result<Self, Refusal> {
        if bytes.len() as u64 > max_file(role) {
            let sentence =
                format!("The file of role {role} has {} bytes; the limit is {}.", bytes.len(), max_file(role));
            return refuse(Why::TooLarge, sentence);
        }
        let unreadable = |e| Refusal::new(Why::MetadataForm, format!("Metadata of role {role} is malformed: {e}."));
        let signed: Signed<T> = serde_json::from_slice(bytes).map_err(unreadable)?;
        // tough verifies what it writes again, not what it read: a wrong `_type`, or a member that it passes over, would go
        // unnoticed, and on to others who read more closely.
        let (read, written) = (serde_json::from_slice::<Value>(bytes), serde_json::to_value(&signed));
        if read.map_err(unreadable)? != written.map_err(unreadable)? {
            return refuse(Why::MetadataForm, format!("The file of role {role} differs from its signed content."));
        }
        Ok(Self { signed, bytes: bytes.to_vec() })
    }

    pub fn version(&self) -> u64 {
        self.signed.signed.version().get()
    }

    pub fn expires(&self) -> DateTime<Utc> {
        to_chrono(self.signed.signed.expires())
    }
}

/// The canonical form over which signatures are made (TUF 1.0, 4.2).
pub(crate) fn canonical<T: Role>(body: &T) -> Result<Vec<u8>, Refusal> {
    body.canonical_form().map_err(|e| Refusal::new(Why::MetadataForm, format!("Metadata has no canonical form: {e}.")))
}

/// Whole seconds: what every reader of TUF takes.
pub(crate) fn to_jiff(time: DateTime<Utc>) -> Result<jiff::Timestamp, Refusal> {
    jiff::Timestamp::from_second(time.timestamp())
        .map_err(|_| Refusal::new(Why::ProposalContent, format!("{time} is outside the range of metadata dates.")))
}

pub(crate) fn to_chrono(time: jiff::Timestamp) -> DateTime<Utc> {
    // jiff's range (years -9999 to 9999) lies within chrono's.
    DateTime::from_timestamp(time.as_second(), 0).unwrap_or(DateTime::<Utc>::MIN_UTC)
}

/// Returns `max(last + 1, Unix milliseconds)`: rises even after restoring an old backup.
pub(crate) fn next_version(last: Option<u64>, now: DateTime<Utc>) -> Result<NonZeroU64, Refusal> {
    let millis = u64::try_from(now.timestamp_millis()).unwrap_or(1);
    let next = last.map_or(Some(millis), |last| last.checked_add(1).map(|next| next.max(millis)));
    next.and_then(NonZeroU64::new)
        .ok_or_else(|| Refusal::new(Why::ProposalContent, "The version cannot be increased further."))
}

pub(crate) fn decoded(id: KeyId) -> Decoded<Hex> {
    id.as_bytes().to_vec().into()
}

pub(crate) fn key_id(id: &Decoded<Hex>) -> Option<KeyId> {
    <[u8; 32]>::try_from(id.as_ref()).ok().map(KeyId::new)
}

pub(crate) fn role_keys(set: &KeySet) -> RoleKeys {
    RoleKeys {
        keyids: set.keys().map(|k| decoded(k.id())).collect(),
        threshold: NonZeroU64::new(u64::from(set.threshold())).unwrap_or(NonZeroU64::MIN),
        _extra: Default::default(),
    }
}

/// Returns the keys and threshold of a role in metadata.
///
/// tough counts key ids. Two ids of one public key (they differ in an unknown member of the key) would count twice, so
/// each public key must be listed once, and be ed25519.
pub(crate) fn key_set<'a>(
    role: &RoleName,
    keyids: &[Decoded<Hex>],
    threshold: NonZeroU64,
    find: impl Fn(&Decoded<Hex>) -> Option<&'a Key>,
) -> Result<KeySet, Refusal> {
    let bad = |sentence: String| Refusal::new(Why::VulnerableKey, sentence);
    if keyids.len() > MAX_KEYS {
        return Err(bad(format!("Role {role} has {} keys; the limit is {MAX_KEYS}.", keyids.len())));
    }
    let mut keys = BTreeSet::new();
    for id in keyids {
        let key = find(id).and_then(PublicKey::from_tuf);
        let key = key.ok_or_else(|| bad(format!("Role {role} lists a key that is missing or not ed25519.")))?;
        if !keys.insert(key) {
            return Err(bad(format!("Role {role} lists the same key twice.")));
        }
    }
    let threshold = u32::try_from(threshold.get()).unwrap_or(u32::MAX);
    KeySet::new(&keys.into_iter().collect::<Vec<_>>(), threshold)
        .map_err(|r| bad(format!("Role {role}: {}", r.sentence())))
}

const TOP_LEVEL: [(RoleType, RoleName); 4] = [
    (RoleType::Root, RoleName::Root),
    (RoleType::Targets, RoleName::Targets),
    (RoleType::Snapshot, RoleName::Snapshot),
    (RoleType::Timestamp, RoleName::Timestamp),
];

/// Returns the holders of a top-level role.
pub(crate) fn holders(root: &Root, role: &RoleName) -> Result<KeySet, Refusal> {
    let kind = TOP_LEVEL.iter().find(|(_, name)| name == role).map(|(kind, _)| *kind);
    let keys = kind.and_then(|kind| root.roles.get(&kind));
    let Some(keys) = keys else {
        return refuse(Why::VulnerableKey, format!("The root lists no keys for role {role}."));
    };
    key_set(role, &keys.keyids, keys.threshold, |id| root.keys.get(id))
}

/// Checks a root: four roles, each with different ed25519 keys, and consistent snapshots.
pub(crate) fn check_root(root: &Root) -> Result<(), Refusal> {
    for (_, role) in TOP_LEVEL {
        holders(root, &role)?;
    }
    if !root.consistent_snapshot {
        return refuse(Why::MetadataForm, "The root does not require consistent snapshots.");
    }
    Ok(())
}

/// Returns the holders of a delegated role.
pub(crate) fn delegates(delegations: &Delegations, role: &RoleName) -> Result<KeySet, Refusal> {
    let name = role.to_string();
    let Some(found) = delegations.roles.iter().find(|r| r.name == name) else {
        return refuse(Why::NotSigned, format!("Role {role} is not delegated."));
    };
    key_set(role, &found.keyids, found.threshold, |id| delegations.keys.get(id))
}

/// Returns the delegations of the top-level targets, empty if none.
pub(crate) fn delegations(targets: &Targets) -> Delegations {
    targets.delegations.clone().unwrap_or_default()
}

/// Returns the keys of `set` with a valid signature, by verification.
pub(crate) fn valid_signers(message: &[u8], signatures: &[Signature], set: &KeySet) -> BTreeSet<KeyId> {
    let mut valid = BTreeSet::new();
    for signature in signatures {
        let key = key_id(&signature.keyid).and_then(|id| set.by_id(id));
        if let Some(key) = key.filter(|k| k.verify(message, &signature.sig)) {
            valid.insert(key.id());
        }
    }
    valid
}

pub(crate) fn hashes(bytes: &[u8]) -> tough::schema::Hashes {
    tough::schema::Hashes { sha256: decoded(sha256(bytes)), _extra: Default::default() }
}
