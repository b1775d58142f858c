//! The TUF repository: what exists, signed. Head office keeps it; the offline holders sign proposals.
//!
//! It is a value made of files: [`Repository::from_files`], [`Repository::files`], and [`store`] keeps them in a folder.
//! A change is a [`Proposal`]: made by `propose_…`, signed by its holders, taken by [`Repository::accept`], and seen by clients
//! after [`Repository::publish`]. What is kept is always published: work on a clone, accept what belongs together, publish,
//! write; and keep proposals whose signatures are still missing beside it. tough's own editor is not used: it re-signs what is offline, and signs with all keys at
//! once.

mod accept;
mod inspect;
mod proposal;
mod propose;
mod publish;
mod state;
pub mod store;

pub use crate::metadata::names::{RoleName, SignedArtifact, SignedPayload};
pub use crate::metadata::schema::{MAX_ROOT, MAX_SNAPSHOT, MAX_TARGETS, MAX_TIMESTAMP};
pub use accept::{Difference, SignatureState};
pub use inspect::{Inspection, KeyView, RoleView};
pub use proposal::{MAX_PROPOSAL, Proposal};
pub use propose::{Change, DelegationSpec, RootSpec};
pub use publish::{Lifetimes, Online};
pub use state::Repository;
