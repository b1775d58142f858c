//! The packages that plans named for this terminal.

use std::collections::BTreeMap;

use fleet_types::{Digest, ProductName, Version};
use release::PayloadName;
use serde::{Deserialize, Serialize};
use trust::planned;
use wire::v1::plan::{ArtifactRef, PayloadRef, Plan};
use wire::v1::reports::Reason;

use super::wanted::Recipient;

/// Most packages of one terminal; a plan that names more is followed as far as this.
pub const MAX_PACKAGES: usize = 256;

/// `PRODUCT/VERSION/NAME`: by it a package is known here.
pub type Key = String;

/// A package that a plan named for this terminal, in the journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Package {
    /// The product.
    pub product: ProductName,
    /// The version.
    pub version: Version,
    /// SHA-256 of `release.toml`.
    pub manifest: Digest,
    /// What is unpacked.
    pub payload: PayloadRef,
    /// What travels.
    pub artifact: ArtifactRef,
    /// The plan that was accepted last names it.
    pub named: bool,
    /// Index and torrent are here, and were checked.
    pub prepared: bool,
    /// It is unpacked, and was checked.
    pub complete: bool,
    /// Bytes of the artifact that are here, as last noted.
    pub have_bytes: u64,
    /// What keeps it from getting on.
    pub trouble: Option<Reason>,
    /// The trouble lies in the package itself: it is left alone until a plan names another.
    pub refused: bool,
}

impl Package {
    /// By what it is known here.
    pub fn key(&self) -> Key {
        format!("{}/{}/{}", self.product, self.version, self.payload.name)
    }

    /// Whether it is the same product's package of that name, in another version or the same.
    pub fn is_kin(&self, other: &Self) -> bool {
        self.product == other.product && self.payload.name == other.payload.name
    }
}

/// What the journal should say once `plan` was accepted.
///
/// What the plan does not name stays, to be removed.
pub fn accept(known: &BTreeMap<Key, Package>, plan: &Plan, recipient: &Recipient) -> BTreeMap<Key, Package> {
    let mut packages = known.clone();
    packages.values_mut().for_each(|p| p.named = false);
    for entry in planned::packages(plan).filter(|s| s.terminals.contains(&recipient.name)) {
        // It becomes a folder's name.
        if entry.payload.name.parse::<PayloadName>().is_err() {
            tracing::warn!(product = %entry.product, version = %entry.version, "a package has an invalid name: it is skipped");
            continue;
        }
        let new = Package {
            product: entry.product.clone(),
            version: entry.version.clone(),
            manifest: entry.manifest,
            payload: entry.payload.clone(),
            artifact: entry.artifacts.choose().clone(),
            named: true,
            prepared: false,
            complete: false,
            have_bytes: 0,
            trouble: None,
            refused: false,
        };
        let key = new.key();
        let full = packages.len() >= MAX_PACKAGES;
        match packages.get_mut(&key) {
            Some(old) if old.payload == new.payload && entry.artifacts.iter().any(|a| *a == old.artifact) => {
                (old.named, old.manifest) = (true, new.manifest);
            }
            // What is unpacked stays: another artifact of it is fetched only if it is lost.
            Some(old) if old.payload == new.payload && old.complete => {
                *old = Package { complete: true, have_bytes: new.artifact.length, ..new };
            }
            Some(old) => *old = new,
            None if full => tracing::warn!(key, "more than {MAX_PACKAGES} packages: the rest is skipped"),
            None => _ = packages.insert(key, new),
        }
    }
    packages
}
