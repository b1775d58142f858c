//! The client's side of TUF: from a root that was pinned to metadata that may be believed, through any mirror.
//!
//! tough does the workflow. Around it, for reasons that README.md lists: it starts from the newest root that was verified,
//! in a scratch folder; expiry is judged here, against the later of clock and time floor; what was accepted is kept in one
//! file that a rename replaces; each file has a bound in bytes and in time.

mod bridge;
mod fetch;
mod state;
mod update;

pub use crate::metadata::file_names::is_metadata_name;
pub use crate::metadata::trusted::{Trusted, authorise};
pub use fetch::{Body, Fetch, FetchError, Limits};
pub use update::Client;
