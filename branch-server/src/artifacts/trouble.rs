//! What keeps an artifact from getting on, as values; a reason for screens and head office is made of them here only. Pure.

use std::fmt;
use std::time::Duration;

use chrono::{DateTime, Utc};
use fleet_types::Digest;
use wire::{Reason, ReasonCode as Code};

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
        /// The error and its causes, presentable.
        error: String,
    },
}

impl Waiting {
    /// Returns it as a reason, for screens and for head office.
    pub fn reason(&self) -> Reason {
        match self {
            Self::NoRoom { needs, room } => Reason::of(Code::StoreFull).with("needed", needs).with("free", room),
            Self::RoomUnknown => Reason::of(Code::StoreUnknown),
            Self::Turn { others } => Reason::of(Code::WaitingTurn).with("others", others),
            Self::EngineUnknown => Reason::of(Code::EngineUnreachable),
            Self::Backoff { until } => Reason::of(Code::Backoff).with("until", until.format("%Y-%m-%d %H:%M:%S UTC")),
        }
    }
}

impl Trouble {
    /// Returns it as a reason, for screens and for head office.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Waiting(waiting) => waiting.reason(),
            Self::Engine { says } => Reason::of(Code::EngineTrouble).with("says", says.replace('\n', " ")),
            Self::Damaged => Reason::of(Code::DamagedOnDisk),
            Self::Refetching { times } => Reason::of(Code::NotAsPlanned).with("times", times),
            Self::Mismatch { found, planned } => {
                Reason::of(Code::MismatchVerified).with("found", found.short()).with("planned", planned.short())
            }
            Self::MismatchAgain { found, planned, backoff } => {
                let reason = Reason::of(Code::MismatchDropped).with("found", found.short());
                reason.with("planned", planned.short()).with("backoff", backoff.as_secs())
            }
            Self::Failed { error } => Reason::new(Code::Failed, error),
        }
    }
}

impl fmt::Display for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason().text)
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason().text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_trouble_is_a_reason_with_parameters_and_a_whole_sentence() {
        let (found, planned) = (Digest::new([1; 32]), Digest::new([2; 32]));
        let until = DateTime::from_timestamp(1_900_000_000, 0).unwrap();
        let sizes = [0, 1023, 1024, 1536, 5 << 20, (1 << 40) + (1 << 39)];
        let full = |room| Waiting::NoRoom { needs: 6 << 20, room }.reason().sentence();
        let free = ["0 bytes", "1023 bytes", "1.0 KiB", "1.5 KiB", "5.0 MiB", "1.5 TiB"];
        assert_eq!(sizes.map(full), free.map(|size| {
            format!(
                "The store has {size} free and this artifact needs 6.0 MiB. Enlarge its disk or `store.budget_bytes`, or wait \
                 until the retention of older artifacts ends."
            )
        }));
        for (trouble, code, part) in [
            (Trouble::Waiting(Waiting::RoomUnknown), Code::StoreUnknown, "`store.folder`"),
            (Trouble::Waiting(Waiting::Turn { others: 2 }), Code::WaitingTurn, "2 other artifacts"),
            (Trouble::Waiting(Waiting::EngineUnknown), Code::EngineUnreachable, "does not answer"),
            (Trouble::Waiting(Waiting::Backoff { until }), Code::Backoff, "2030-03-17 17:46:40 UTC"),
            (Trouble::Engine { says: "no\nroute".into() }, Code::EngineTrouble, "reports: no route"),
            (Trouble::Damaged, Code::DamagedOnDisk, "damaged on the disk"),
            (Trouble::Refetching { times: 2 }, Code::NotAsPlanned, "(2 ×)"),
            (Trouble::Mismatch { found, planned }, Code::MismatchVerified, "being verified piece by piece"),
            (
                Trouble::MismatchAgain { found, planned, backoff: Duration::from_secs(600) },
                Code::MismatchDropped,
                "will be fetched again in 10 min",
            ),
            (Trouble::Failed { error: "No link.".into() }, Code::Failed, "No link."),
        ] {
            let reason = trouble.reason();
            assert_eq!((&reason.code, reason.sentence()), (&code, trouble.to_string()));
            assert!(reason.text.contains(part) && !reason.text.contains('{'), "{reason:?}");
        }
    }
}
