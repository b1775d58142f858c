//! The update archive (`.upd`): packs, reads in one bounded pass, and judges by the business rules.
//!
//! Three steps, each a function: [`pack`] makes an archive from a folder; [`scan`] reads an archive and returns what it
//! contains; [`evaluate`] turns that, with facts about the fleet, into a checklist.
//!
//! It must never trust a byte of an archive, hold more of it in memory than its [`Limits`] allow, write to a path that the
//! archive names, follow a link, judge with a clock or a network, or pass what it could not check: that is `unknown`.

mod draft;
mod external;
mod facts;
mod flaw;
mod freeze;
mod image;
mod limits;
mod manifest;
mod pack;
mod path;
mod policy;
mod rules;
mod scan;
mod tree;

pub use external::External;
pub use facts::{
    BranchStore, Facts, PreviousRelease, PublishedStep, ReleaseKeys, Running, RunningVersion, SmallestSlot, StoreRoom,
};
pub use flaw::{Flaw, Why};
pub use freeze::{FreezePeriod, Starts, UtcOffset};
pub use image::{FileSystem, Image};
pub use limits::Limits;
pub use manifest::{MANIFEST_NAME, Manifest, ManifestError, Payload, PayloadKind, PayloadName, PayloadNameError};
pub use pack::{PackError, Packed, archive_name, pack};
pub use path::{MemberPath, UnsafePath};
pub use policy::{
    ArchiveShapePolicy, BranchSpacePolicy, DeclaredModel, ExternalPolicy, FitsSlotPolicy, FreezeCalendarPolicy,
    ImageMagicPolicy, NotesPresentPolicy, Policy, PolicyError, SizeGrowthPolicy, VersionNewerPolicy,
};
pub use rules::{FREEZE_CALENDAR, RULES, Rule, evaluate, freeze};
pub use scan::{ManifestRead, Member, Scan, inspect, scan};
pub use tree::{MAX_TREE_ENTRIES, TreeError, TreeSink, read_tree};
