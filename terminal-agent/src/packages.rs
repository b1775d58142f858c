//! Packages: payloads that are no slot's matter. The plan names them beside the steps of the slot; they are fetched the
//! same way, checked, and unpacked whole or not at all into a folder of their own, for `terminal-agent run`.
//!
//! [`decide`](self::decide::decide) says what is to be done, `act` does it, [`Place`] keeps the folders. It is done
//! while the slot is at rest, one thing a turn, so that no update ever waits for a package.

mod act;
pub mod decide;
mod place;
pub mod wrapper;

use std::collections::BTreeMap;
use std::time::Duration;

use fleet_types::{Digest, ProductName, Version};
use release::PayloadName;
use serde::{Deserialize, Serialize};
use wire::v1::plan::{ArtifactRef, PayloadRef, Plan};
use wire::v1::reports::Reason;

use crate::wanted::Me;

pub(crate) use act::sweep;
pub use place::{Place, PlaceError, Record};

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

/// What is known of packages in memory only. Times are times since the machine started.
#[derive(Debug, Default)]
pub struct Rests {
    /// For each that failed how often in a row, and until when it rests.
    until: BTreeMap<Key, (u32, Duration)>,
    /// When progress may be noted again.
    pub(crate) note_at: Duration,
}

impl Rests {
    /// How long it rests still.
    pub fn left(&self, key: &str, now: Duration) -> Duration {
        self.until.get(key).map_or(Duration::ZERO, |(_, until)| until.saturating_sub(now))
    }

    /// It failed once more; how often in a row.
    fn failed(&mut self, key: &str) -> u32 {
        let (count, _) = self.until.entry(key.to_owned()).or_default();
        *count = count.saturating_add(1);
        *count
    }

    fn rest(&mut self, key: &str, until: Duration) {
        self.until.entry(key.to_owned()).or_default().1 = until;
    }

    fn worked(&mut self, key: &str) {
        self.until.remove(key);
    }

    /// Nothing rests any more.
    pub fn wake(&mut self) {
        self.until.values_mut().for_each(|(_, until)| *until = Duration::ZERO);
    }
}

/// What the journal should say once `plan` was accepted. What the plan does not name stays, to be removed.
pub fn accept(known: &BTreeMap<Key, Package>, plan: &Plan, me: &Me) -> BTreeMap<Key, Package> {
    let mut packages = known.clone();
    packages.values_mut().for_each(|p| p.named = false);
    for entry in plan.packages.iter().filter(|s| s.terminals.contains(&me.name)) {
        // It becomes a folder's name.
        if entry.payload.name.parse::<PayloadName>().is_err() {
            tracing::warn!(product = %entry.product, version = %entry.version, "a package's name is none: left alone");
            continue;
        }
        let new = Package {
            product: entry.product.clone(),
            version: entry.version.clone(),
            manifest: entry.manifest,
            payload: entry.payload.clone(),
            artifact: entry.artifact.clone(),
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
            Some(old) if (&old.payload, &old.artifact) == (&new.payload, &new.artifact) => {
                (old.named, old.manifest) = (true, new.manifest);
            }
            Some(old) => *old = new,
            None if full => tracing::warn!(key, "more than {MAX_PACKAGES} packages: left alone"),
            None => _ = packages.insert(key, new),
        }
    }
    packages
}
