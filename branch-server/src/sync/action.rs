//! What a pass may decide to do, and why something waits. Pure.

use std::fmt;

use chrono::{DateTime, Utc};
use fleet_types::{Digest, InfoHash};

use super::plan::Wanted;

/// One thing to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// A plan names it again: its retention stops.
    Name(Digest),
    /// No plan names it any more: its retention starts now.
    Unname(Digest),
    /// Another release of the same artifact is planned now: record its title and manifest.
    Retitle(Wanted),
    /// The plan describes it otherwise than when it was recorded (another torrent or index): begin with the description
    /// again, keep its data.
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
    /// Its retention is over (or its removal was interrupted): remove it.
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

/// Why an artifact waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Waiting {
    /// The store has no room.
    NoRoom {
        /// Bytes that it needs.
        needs: u64,
        /// Bytes that there are.
        room: u64,
    },
    /// It could not be learned how much room there is.
    RoomUnknown,
    /// As many as may are being fetched.
    Turn {
        /// So many.
        others: usize,
    },
    /// The engine does not answer.
    EngineUnknown,
    /// It failed and rests.
    Resting {
        /// Until then.
        until: DateTime<Utc>,
    },
}

impl fmt::Display for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoRoom { needs, room } => write!(
                f,
                "The store has {room} bytes of room and this needs {needs}: enlarge its disk or budget, or wait until \
                 older artifacts have outlived their retention."
            ),
            Self::RoomUnknown => f.write_str(
                "How much room the store has cannot be learned: see that its folder exists and is readable.",
            ),
            Self::Turn { others } => {
                write!(
                    f,
                    "{others} others of the plan are fetched first (sync.fetch_at_once); this one is next in turn."
                )
            }
            Self::EngineUnknown => {
                f.write_str("The BitTorrent daemon does not answer: see that it runs and takes our password.")
            }
            Self::Resting { until } => {
                write!(f, "The last attempt failed; the next one is made at {}.", until.to_rfc3339())
            }
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
