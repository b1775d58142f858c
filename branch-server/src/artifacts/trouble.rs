//! What keeps an artifact from getting on, as values with a code; rendered in this file only. Pure.

use std::fmt;
use std::time::Duration;

use chrono::{DateTime, Utc};
use fleet_types::Digest;

/// Why an artifact waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Waiting {
    /// The store has no room.
    NoRoom {
        /// Bytes that it needs.
        needs: u64,
        /// Bytes that are free.
        room: u64,
    },
    /// The free space of the store is not known.
    RoomUnknown,
    /// The limit of concurrent fetches is reached.
    Turn {
        /// How many are being fetched.
        others: usize,
    },
    /// The BitTorrent client does not answer.
    EngineUnknown,
    /// It failed and is in backoff.
    Backoff {
        /// Until then.
        until: DateTime<Utc>,
    },
}

/// What keeps an artifact from getting on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trouble {
    /// It waits.
    Waiting(Waiting),
    /// The BitTorrent client or a tracker complains.
    Engine {
        /// Their words.
        says: String,
    },
    /// The disk damaged it.
    Damaged,
    /// Its complete file was not what the plan names; it is being fetched again.
    Refetching {
        /// How often that happened.
        times: u32,
    },
    /// The complete file is not what the plan names; it is being verified.
    Mismatch {
        /// Its digest.
        found: Digest,
        /// The planned digest.
        planned: Digest,
    },
    /// The complete file is not what the plan names, also after verifying it.
    MismatchAgain {
        /// Its digest.
        found: Digest,
        /// The planned digest.
        planned: Digest,
        /// When it is fetched again.
        backoff: Duration,
    },
    /// An operation failed.
    Failed {
        /// The error and its causes.
        error: String,
    },
}

impl Trouble {
    /// Returns the stable code, in kebab case.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Waiting(Waiting::NoRoom { .. }) => "store-full",
            Self::Waiting(Waiting::RoomUnknown) => "store-unknown",
            Self::Waiting(Waiting::Turn { .. }) => "waiting-turn",
            Self::Waiting(Waiting::EngineUnknown) => "engine-unreachable",
            Self::Waiting(Waiting::Backoff { .. }) => "backoff",
            Self::Engine { .. } => "engine-trouble",
            Self::Damaged => "damaged-on-disk",
            Self::Refetching { .. } | Self::Mismatch { .. } | Self::MismatchAgain { .. } => "not-as-planned",
            Self::Failed { .. } => "failed",
        }
    }
}

/// Renders bytes in the largest binary unit that keeps two digits, such as `1.5 GiB`.
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let (mut divisor, mut unit) = (1, 0);
    while unit + 1 < UNITS.len() && bytes / divisor >= 1024 {
        divisor *= 1024;
        unit += 1;
    }
    let (whole, tenth) = (bytes / divisor, bytes % divisor * 10 / divisor);
    match (unit, tenth) {
        (0, _) | (_, 0) => format!("{whole} {}", UNITS[unit]),
        _ => format!("{whole}.{tenth} {}", UNITS[unit]),
    }
}

impl fmt::Display for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoRoom { needs, room } => write!(
                f,
                "The store has {} free and this artifact needs {}. Enlarge its disk or `store.budget_bytes`, or wait until \
                 the retention of older artifacts ends.",
                size(*room),
                size(*needs)
            ),
            Self::RoomUnknown => f.write_str(
                "The free space of the store cannot be read. Check that the folder `store.folder` exists and is readable.",
            ),
            Self::Turn { others } => write!(
                f,
                "Waits its turn: {others} other artifacts of the plan are being fetched, as many as `sync.fetch_at_once` \
                 allows."
            ),
            Self::EngineUnknown => f.write_str(
                "The BitTorrent client does not answer. Check that it is running and accepts the configured password.",
            ),
            Self::Backoff { until } => {
                write!(f, "The last attempt failed; the next one is at {}.", until.format("%Y-%m-%d %H:%M:%S UTC"))
            }
        }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Waiting(waiting) => waiting.fmt(f),
            Self::Engine { says } => write!(f, "The BitTorrent client reports: {says}"),
            Self::Damaged => f.write_str(
                "Part of it was damaged on the disk and is being fetched again. Check the health of the disk.",
            ),
            Self::Refetching { times } => {
                let times = if *times == 1 { "once".to_owned() } else { format!("{times} times") };
                write!(f, "Its complete file did not match the plan ({times}); it is being fetched again.")
            }
            Self::Mismatch { found, planned } => write!(
                f,
                "The complete file hashes to {}, the plan names {}. It is being verified piece by piece.",
                found.short(),
                planned.short()
            ),
            Self::MismatchAgain { found, planned, backoff } => write!(
                f,
                "The complete file hashes to {}, the plan names {}, also after verification. It was dropped and will be \
                 fetched again in {} s. If this repeats, publish the release again.",
                found.short(),
                planned.short(),
                backoff.as_secs()
            ),
            Self::Failed { error } => f.write_str(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_readable() {
        let sizes = [0, 1023, 1024, 1536, 5 << 20, (1 << 40) + (1 << 39)].map(size);
        assert_eq!(sizes, ["0 B", "1023 B", "1 KiB", "1.5 KiB", "5 MiB", "1.5 TiB"]);
    }
}
