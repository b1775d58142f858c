//! What a pass may decide to do. Pure.

use std::fmt;

use fleet_types::{Digest, InfoHash};

use super::model::Wanted;
use super::trouble::Waiting;

/// One thing to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// A plan names it again: its retention stops.
    Name(Digest),
    /// No plan names it any more: its retention starts now.
    Unname(Digest),
    /// Another release of the same artifact is planned now: record its title and manifest.
    Retitle(Wanted),
    /// The plan describes it differently than recorded (another torrent or index): fetch the description again, keep its
    /// data.
    Redescribe(Wanted),
    /// A manifest that the plan names besides those that came with descriptions: bring it here.
    Manifest(Digest),
    /// Bring it here: describe, list, add to the engine, as far as that is not done yet.
    Fetch(Wanted),
    /// Its whole file was brought by hand: let it take the place of what the engine has of it.
    Place(Digest),
    /// It is in the engine: see how far, and check the whole when it is complete.
    Watch(Digest),
    /// It is complete here but the engine does not have it: add it again.
    Seed(Digest),
    /// It is unfinished and no longer named: take it out of the engine, keep what is there.
    Stop(Digest),
    /// Its retention ended (or its removal was interrupted): remove it.
    Drop(Digest),
    /// The engine has a torrent that no record knows, such as after a restored database: take it out, keep its data.
    Release(InfoHash),
    /// A file that no record knows has outlived the retention: remove it.
    Sweep(Digest),
    /// Nothing can be done about it now.
    Wait {
        /// Which artifact.
        wanted: Wanted,
        /// Why.
        why: Waiting,
    },
}

impl Action {
    /// Returns the artifact whose trouble a failure of this action is.
    pub const fn subject(&self) -> Option<&Digest> {
        match self {
            Self::Fetch(wanted) => Some(&wanted.artifact.sha256),
            Self::Place(artifact)
            | Self::Watch(artifact)
            | Self::Seed(artifact)
            | Self::Stop(artifact)
            | Self::Drop(artifact) => Some(artifact),
            Self::Name(_)
            | Self::Unname(_)
            | Self::Retitle(_)
            | Self::Redescribe(_)
            | Self::Manifest(_)
            | Self::Release(_)
            | Self::Sweep(_)
            | Self::Wait { .. } => None,
        }
    }

    /// Returns what is not tried again before its backoff ended, if this action fails.
    pub const fn backs_off(&self) -> Option<&Digest> {
        match self {
            Self::Fetch(wanted) => Some(&wanted.artifact.sha256),
            Self::Seed(digest) | Self::Manifest(digest) => Some(digest),
            _ => None,
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(a) => write!(f, "name {}", a.short()),
            Self::Unname(a) => write!(f, "unname {}", a.short()),
            Self::Retitle(w) => write!(f, "retitle {}", w.artifact.sha256.short()),
            Self::Redescribe(w) => write!(f, "redescribe {}", w.artifact.sha256.short()),
            Self::Manifest(m) => write!(f, "manifest {}", m.short()),
            Self::Fetch(w) => write!(f, "fetch {}", w.artifact.sha256.short()),
            Self::Place(a) => write!(f, "place {}", a.short()),
            Self::Watch(a) => write!(f, "watch {}", a.short()),
            Self::Seed(a) => write!(f, "seed {}", a.short()),
            Self::Stop(a) => write!(f, "stop {}", a.short()),
            Self::Drop(a) => write!(f, "drop {}", a.short()),
            Self::Release(hash) => write!(f, "release {}", hash.short()),
            Self::Sweep(a) => write!(f, "sweep {}", a.short()),
            Self::Wait { wanted, why } => write!(f, "wait {}: {why}", wanted.artifact.sha256.short()),
        }
    }
}
