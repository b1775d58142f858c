//! What can happen to an update.

use std::time::Duration;

use wire::v1::evidence::BootEvidence;
use wire::v1::reports::Reason;

use super::update::{Intent, Update, Verdict};

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The plan names an update that is to be done.
    Assign(Box<Update>),
    /// Manifest, index and torrent are here and in order; so many segments are to be written.
    Prepared {
        /// Segments in all.
        total: u64,
    },
    /// So many segments are written, checked and synced.
    Progress {
        /// Segments written.
        done: u64,
    },
    /// The complete torrent is verified again.
    VerifyAsked,
    /// Every segment is written.
    AllWritten,
    /// The slot was read back and is the payload.
    ReadBack,
    /// The activation begins, in this boot.
    Activate(Intent),
    /// A restart is about to be asked for.
    RestartAsked,
    /// The machine runs the target slot.
    TrialBooted {
        /// The boot.
        boot_id: String,
        /// Time since the machine started.
        since: Duration,
    },
    /// The trial is lost; the old slot is to be booted.
    Unhealthy(Verdict),
    /// The target slot is the default now.
    Confirmed,
    /// The slot that runs was delivered with this.
    Delivered(Box<Update>),
    /// The machine is back on the old slot.
    FellBack {
        /// Why.
        verdict: Verdict,
        /// What is left of the last boot that failed.
        evidence: Option<Box<BootEvidence>>,
    },
    /// Given up before the trial.
    Fail(Verdict),
    /// The plan does not name it any more.
    Withdraw(Reason),
}

impl Event {
    /// The event's name, for messages and logs.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Assign(_) => "assign",
            Self::Prepared { .. } => "prepared",
            Self::Progress { .. } => "progress",
            Self::VerifyAsked => "verify-asked",
            Self::AllWritten => "all-written",
            Self::ReadBack => "read-back",
            Self::Activate(_) => "activate",
            Self::RestartAsked => "restart-asked",
            Self::TrialBooted { .. } => "trial-booted",
            Self::Unhealthy(_) => "unhealthy",
            Self::Confirmed => "confirmed",
            Self::Delivered(_) => "delivered",
            Self::FellBack { .. } => "fell-back",
            Self::Fail(_) => "fail",
            Self::Withdraw(_) => "withdraw",
        }
    }
}
