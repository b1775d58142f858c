//! The update archive (`.upd`): pack one, read one in a single pass under bounds, judge it by the business rules.
//!
//! Three steps, each a function: [`pack`] makes an archive out of a folder; [`scan`] reads one, from anywhere, and
//! says what is in it; [`evaluate`] turns that, with what is known of the fleet, into a checklist for people.
//!
//! What it must never do: trust a byte of an archive, hold more of one in memory than its [`Limits`] allow, write
//! anything it reads to a path that the archive names, follow a link, judge with a clock or a network, or call
//! something in order that it could not check: that is `unknown`.

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
