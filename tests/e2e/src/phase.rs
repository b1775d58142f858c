//! The phases of a release's way, in order, and what holds each open.

use std::fmt;

use fleet_types::TerminalRef;
use lab::{Part, Place, Role};

/// A phase of a release's way from the operator to a confirmed terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// The archive arrives.
    Uploading,
    /// It is read and judged.
    Validating,
    /// A payload is encoded.
    Encoding,
    /// What was encoded is hashed.
    Hashing,
    /// The access list names the torrent, and the tracker has not said that it accepts it.
    Listing,
    /// The tracker accepts it, and head office has not heard of it.
    Accepted,
    /// Head office asks the daemon to seed, which has not got the torrent.
    Seeding,
    /// The daemon has verified and seeds, and head office has not noticed.
    Verified,
    /// All that is left is the transaction that shows the release to branches.
    Showing,
    /// Segments are written to the slot while they arrive.
    Fetching,
    /// The slot is read back.
    Installing,
    /// The trial is being set.
    Activating,
    /// The new slot runs on trial.
    Trying,
    /// The new slot is the default, and head office has not heard of it.
    Confirming,
}

impl Phase {
    /// In order.
    pub const ALL: [Self; 14] = [
        Self::Uploading,
        Self::Validating,
        Self::Encoding,
        Self::Hashing,
        Self::Listing,
        Self::Accepted,
        Self::Seeding,
        Self::Verified,
        Self::Showing,
        Self::Fetching,
        Self::Installing,
        Self::Activating,
        Self::Trying,
        Self::Confirming,
    ];

    /// The phases until a release is published.
    pub const PUBLISHING: std::ops::Range<usize> = 0..9;

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Uploading => "uploading",
            Self::Validating => "validating",
            Self::Encoding => "encoding",
            Self::Hashing => "hashing",
            Self::Listing => "listing",
            Self::Accepted => "accepted",
            Self::Seeding => "seeding",
            Self::Verified => "verified",
            Self::Showing => "showing",
            Self::Fetching => "fetching",
            Self::Installing => "installing",
            Self::Activating => "activating",
            Self::Trying => "trying",
            Self::Confirming => "confirming",
        }
    }

    /// What is made to stand still so that the phase does not pass: never what drives it.
    pub(crate) fn gate(self, terminal: &TerminalRef) -> Option<Part> {
        match self {
            Self::Listing | Self::Accepted => Some(Place::HeadOffice.part(Role::Opentracker)),
            Self::Seeding => Some(Place::HeadOffice.part(Role::Transmission)),
            // After each move the agent tells the branch of it; and a trial is confirmed once the branch was heard in it.
            Self::Activating | Self::Trying => Some(Part::branch(&terminal.branch)),
            // What it has not heard, it hears later.
            Self::Confirming => Some(Part::head_office()),
            _ => None,
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
