//! Values that tables and their users share: an artifact as a plan names it, and its stage. Pure.

use fleet_types::{Digest, ProductName, Version};
use wire::v1::plan::{ArtifactRef, PayloadRef};

/// An artifact that the plan names, with what is needed to describe it to terminals.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// What travels.
    pub artifact: ArtifactRef,
    /// What it becomes in a slot, or is unpacked from it.
    pub payload: PayloadRef,
    /// The release's manifest.
    pub manifest: Digest,
    /// Of which product.
    pub product: ProductName,
    /// Of which version.
    pub version: Version,
}

/// The durable stage of an artifact.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    /// Named by a plan; index and torrent are not here.
    Wanted,
    /// Index, torrent and manifest are here and checked.
    Described,
    /// The local tracker accepts it: terminals may begin, and so may the engine.
    Listed,
    /// The whole file was hashed and is what the plan says.
    Held,
    /// On its way out; whatever remains of it is being removed.
    Dropping,
}

impl Stage {
    /// The stage as the database has it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Wanted => "wanted",
            Self::Described => "described",
            Self::Listed => "listed",
            Self::Held => "held",
            Self::Dropping => "dropping",
        }
    }

    /// Whether terminals may have its index and torrent.
    pub const fn is_available(self) -> bool {
        matches!(self, Self::Listed | Self::Held)
    }
}
