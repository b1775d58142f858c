//! What was seen of the world, as values. What could not be found out is said to be unknown, with the reason, and never
//! filled in.

use std::time::Duration;

use bootslot::BootState;
use fleet_types::{Digest, Slot};
use wire::ReasonCode;
use wire::v1::reports::Reason;

use super::health::Health;
use super::limits::Limits;
use super::memory::Trouble;
use super::reasons::{failed, given_up};
use super::update::Verdict;
use super::wanted::Wanted;

/// A fact, or why it is not known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Known<T> {
    /// Known.
    Is(T),
    /// Not known, because.
    Unknown(String),
}

/// The bootloader's state as far as it can be seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BootSeen {
    /// Known.
    Is(BootState),
    /// Its store is there and holds none: a fresh one can be made.
    Invalid(String),
    /// Not known, because: its store is out of reach.
    Unknown(String),
}

/// How far the files of the update in hand are applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WorkSeen {
    /// Segments written and synced.
    pub done: u64,
    /// Segments in all.
    pub total: u64,
}

/// How the torrent is doing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Transfer {
    /// All of it is here and verified.
    pub complete: bool,
    /// Segments that are to be written and whose bytes are here.
    pub ready: Vec<u64>,
    /// Everything that is still to be written was here, complete, and did not check.
    pub refused: bool,
    /// What the engine complains of.
    pub trouble: Option<String>,
}

/// A segment whose bytes were here and did not check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused {
    /// When it is worth another look, as time since the machine started.
    pub until: Duration,
    /// The torrent was complete: then only a verification can help.
    pub complete: bool,
}

/// Everything that a decision is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observation {
    /// The slot that runs, from the kernel command line alone.
    pub running: Known<Slot>,
    /// Which boot this is.
    pub boot_id: Known<String>,
    /// The bootloader's state.
    pub boot: BootSeen,
    /// What the plan wants.
    pub wanted: Wanted,
    /// Why the plan that the branch server offers is not followed.
    pub plan_refused: Option<Reason>,
    /// The files of the update in hand; `None`: not here, or not in order.
    pub work: Option<WorkSeen>,
    /// The torrent; `None` if the engine does not have it.
    pub transfer: Known<Option<Transfer>>,
    /// The trial's health.
    pub health: Known<Health>,
    /// Earlier trials of the update's payload that ended without a judgement.
    pub unjudged: u32,
    /// Failures of the step at hand.
    pub trouble: Option<Trouble>,
    /// How long until it may be tried again; zero is now.
    pub retry_in: Duration,
    /// How long ago this process asked for a restart.
    pub restart_asked: Option<Duration>,
    /// An artifact that is to be removed.
    pub droppable: Option<Digest>,
}

impl Observation {
    /// Nothing is known, nothing is wanted: what tests fill in.
    pub fn nothing() -> Self {
        let unknown = || "not looked at".to_owned();
        Self {
            running: Known::Unknown(unknown()),
            boot_id: Known::Unknown(unknown()),
            boot: BootSeen::Unknown(unknown()),
            wanted: Wanted::Unknown,
            plan_refused: None,
            work: None,
            transfer: Known::Unknown(unknown()),
            health: Known::Unknown(unknown()),
            unjudged: 0,
            trouble: None,
            retry_in: Duration::ZERO,
            restart_asked: None,
            droppable: None,
        }
    }

    /// Why the update is given up, if its step failed often enough.
    pub fn given_up(&self, limits: &Limits) -> Option<Verdict> {
        let trouble = self.trouble.as_ref().filter(|t| t.bounded && t.count >= limits.attempts)?;
        let reason = given_up(&trouble.verdict.reason, trouble.count);
        Some(Verdict { reason, retry: trouble.verdict.retry })
    }
}

impl Known<Health> {
    /// What is waited for, in words.
    pub fn not_yet(&self) -> Reason {
        match self {
            Self::Is(Health::NotYet { why, .. } | Health::Unhealthy(why)) => why.clone(),
            Self::Is(Health::Healthy) => {
                Reason::new(ReasonCode::BootStateUnknown, "Healthy, but the boot state cannot be read.")
            }
            Self::Unknown(why) => {
                failed(ReasonCode::HealthUnknown, "The health of this boot has not been checked yet.", why)
            }
        }
    }
}
