//! A change of a role that is not in force until enough holders signed it: the detached file that travels to offline keys
//! and comes back, one signature at a time.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use fleet_types::Digest;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tough::schema::{Role as _, Root, Signature, Targets};

use crate::keys::{KeyId, KeySet, MAX_KEYS, SigningKey, sha256};
use crate::metadata::names::RoleName;
use crate::metadata::schema::{MAX_TARGETS, RoleSignature, canonical, to_chrono};
use crate::refusal::{Refusal, Why, refuse};

/// Largest proposal file in bytes.
pub const MAX_PROPOSAL: u64 = MAX_TARGETS + 64 * 1024;

/// The next version of a role, and the signatures that it has so far. As a file: JSON.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(try_from = "Raw", into = "Raw")]
pub struct Proposal {
    pub(crate) role: RoleName,
    pub(crate) base: Option<u64>,
    pub(crate) body: Body,
    pub(crate) signatures: Vec<RoleSignature>,
    pub(crate) holders: BTreeSet<KeyId>,
}

/// What is signed.
#[derive(Debug, Clone)]
pub(crate) enum Body {
    Root(Box<Root>),
    Targets(Box<Targets>),
}

/// The file's form.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Raw {
    format: u32,
    role: RoleName,
    /// The version in force when it was made; absent for the first one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    base: Option<u64>,
    signed: Value,
    signatures: Vec<RoleSignature>,
    /// The keys that may sign. Unsigned: a hint for who signs offline, without the metadata that decides.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    holders: BTreeSet<KeyId>,
}

impl TryFrom<Raw> for Proposal {
    type Error = Refusal;
    fn try_from(raw: Raw) -> Result<Self, Refusal> {
        let unreadable =
            |e: serde_json::Error| Refusal::new(Why::ProposalContent, format!("The proposal is malformed: {e}."));
        if raw.format != 1 {
            return refuse(
                Why::ProposalContent,
                format!("The proposal has format {}; this program reads format 1.", raw.format),
            );
        }
        if raw.holders.len() > 2 * MAX_KEYS {
            return refuse(Why::ProposalContent, "The proposal names more holders than a role has.");
        }
        if raw.signatures.len() > MAX_KEYS {
            return refuse(Why::ProposalContent, format!("The proposal has more than {MAX_KEYS} signatures."));
        }
        let expected = if raw.role == RoleName::Root { "root" } else { "targets" };
        if raw.signed.get("_type").and_then(Value::as_str) != Some(expected) {
            return refuse(
                Why::ProposalContent,
                format!("The content of the proposal does not belong to role {}.", raw.role),
            );
        }
        let body = match &raw.role {
            RoleName::Root => Body::Root(serde_json::from_value(raw.signed).map_err(unreadable)?),
            RoleName::Snapshot | RoleName::Timestamp => {
                return refuse(
                    Why::ProposalContent,
                    "Snapshot and timestamp are made when publishing, never proposed.",
                );
            }
            _ => Body::Targets(serde_json::from_value(raw.signed).map_err(unreadable)?),
        };
        let mut seen = BTreeSet::new();
        for signature in &raw.signatures {
            signature.to_tuf()?;
            if !seen.insert(signature.keyid) {
                return refuse(
                    Why::ProposalContent,
                    format!("The proposal has two signatures by key {}.", signature.keyid.short()),
                );
            }
        }
        Ok(Self { role: raw.role, base: raw.base, body, signatures: raw.signatures, holders: raw.holders })
    }
}

impl From<Proposal> for Raw {
    fn from(p: Proposal) -> Self {
        let signed = match &p.body {
            Body::Root(root) => serde_json::to_value(root),
            Body::Targets(targets) => serde_json::to_value(targets),
        };
        // Such a value was read, or made, by the same types before: writing it cannot fail.
        let signed = signed.unwrap_or_default();
        Self { format: 1, role: p.role, base: p.base, signed, signatures: p.signatures, holders: p.holders }
    }
}

impl Proposal {
    pub(crate) fn new(role: RoleName, base: Option<u64>, body: Body) -> Self {
        Self { role, base, body, signatures: Vec::new(), holders: BTreeSet::new() }
    }

    /// Names the keys that may sign.
    pub(crate) fn held_by<'a>(mut self, sets: impl IntoIterator<Item = &'a KeySet>) -> Self {
        self.holders = sets.into_iter().flat_map(|set| set.keys().map(|key| key.id())).collect();
        self
    }

    /// Whether a key may sign, as far as the file says.
    ///
    /// What counts is decided by the metadata in force; a proposal of an earlier version names no holders.
    pub fn may_be_signed_by(&self, key: KeyId) -> bool {
        self.holders.is_empty() || self.holders.contains(&key)
    }

    /// Reads a proposal file.
    ///
    /// # Errors
    /// Longer than [`MAX_PROPOSAL`], or no proposal.
    pub fn parse(bytes: &[u8]) -> Result<Self, Refusal> {
        if bytes.len() as u64 > MAX_PROPOSAL {
            return refuse(
                Why::TooLarge,
                format!("The proposal has {} bytes; the limit is {MAX_PROPOSAL}.", bytes.len()),
            );
        }
        serde_json::from_slice(bytes)
            .map_err(|e| Refusal::new(Why::ProposalContent, format!("The proposal is malformed: {e}.")))
    }

    /// The file's bytes.
    ///
    /// # Errors
    /// It cannot be written as JSON.
    pub fn to_bytes(&self) -> Result<Vec<u8>, Refusal> {
        serde_json::to_vec_pretty(self)
            .map_err(|e| Refusal::new(Why::ProposalContent, format!("Cannot serialise the proposal: {e}.")))
    }

    /// Which role.
    pub const fn role(&self) -> &RoleName {
        &self.role
    }

    /// The version that it was made against; nothing if it is the role's first.
    pub const fn base(&self) -> Option<u64> {
        self.base
    }

    /// Its own version.
    pub fn version(&self) -> u64 {
        match &self.body {
            Body::Root(root) => root.version().get(),
            Body::Targets(targets) => targets.version().get(),
        }
    }

    /// When what it proposes expires.
    pub fn expires(&self) -> DateTime<Utc> {
        to_chrono(match &self.body {
            Body::Root(root) => root.expires(),
            Body::Targets(targets) => targets.expires(),
        })
    }

    /// The bytes that are signed.
    pub(crate) fn message(&self) -> Result<Vec<u8>, Refusal> {
        match &self.body {
            Body::Root(root) => canonical(root.as_ref()),
            Body::Targets(targets) => canonical(targets.as_ref()),
        }
    }

    /// SHA-256 of the bytes that are signed: holders compare it before they sign.
    ///
    /// # Errors
    /// The content has no canonical form.
    pub fn digest(&self) -> Result<Digest, Refusal> {
        Ok(sha256(&self.message()?))
    }

    /// The ids of the keys that signatures are said to be of. Nothing is verified: see
    /// [`crate::repository::Repository::signature_state`].
    pub fn claimed_signers(&self) -> BTreeSet<KeyId> {
        self.signatures.iter().map(|s| s.keyid).collect()
    }

    /// Adds the signature of one key. A second one of the same key replaces the first.
    ///
    /// # Errors
    /// The content has no canonical form, or the limit of signatures is reached.
    pub fn sign(&mut self, key: &SigningKey) -> Result<(), Refusal> {
        let keyid = key.public().id();
        let sig = hex::encode(key.sign(&self.message()?));
        self.add(RoleSignature { keyid, sig })
    }

    fn add(&mut self, signature: RoleSignature) -> Result<(), Refusal> {
        self.signatures.retain(|s| s.keyid != signature.keyid);
        if self.signatures.len() >= MAX_KEYS {
            return refuse(Why::ProposalContent, format!("The proposal has more than {MAX_KEYS} signatures."));
        }
        self.signatures.push(signature);
        Ok(())
    }

    /// Takes over the signatures of another copy of the same statement.
    ///
    /// # Errors
    /// The other one says something else.
    pub fn merge(&mut self, other: &Self) -> Result<(), Refusal> {
        if self.role != other.role || self.base != other.base || self.digest()? != other.digest()? {
            let sentence = format!("The proposals for roles {} and {} differ in content.", self.role, other.role);
            return refuse(Why::ProposalMismatch, sentence);
        }
        let message = self.message()?;
        let mine: BTreeSet<_> = self.claimed_signers();
        for signature in &other.signatures {
            // An existing signature is not replaced by another copy's.
            if !mine.contains(&signature.keyid) {
                self.add(signature.clone())?;
            }
        }
        debug_assert_eq!(self.message().ok(), Some(message));
        Ok(())
    }

    /// Drops every signature except those of these keys.
    ///
    /// A proposal that strangers may add to must keep
    /// [`crate::repository::SignatureState::signed_by`] alone: what claims to be of a holder and is not would otherwise
    /// stand in the way of the holder's own.
    pub fn keep_signatures_of(&mut self, signers: &BTreeSet<KeyId>) {
        self.signatures.retain(|s| signers.contains(&s.keyid));
    }

    /// The signatures of these keys only: what strangers added does not reach the metadata.
    pub(crate) fn signatures_of(&self, signers: &BTreeSet<KeyId>) -> Result<Vec<Signature>, Refusal> {
        self.signatures.iter().filter(|s| signers.contains(&s.keyid)).map(RoleSignature::to_tuf).collect()
    }

    pub(crate) fn tuf_signatures(&self) -> Result<Vec<Signature>, Refusal> {
        self.signatures.iter().map(RoleSignature::to_tuf).collect()
    }
}
