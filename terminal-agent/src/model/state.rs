//! The states of an update on this terminal, and the only table of moves between them.
//!
//! ```text
//! idle ─▶ assigned ─▶ fetching ─▶ installing ─▶ ready ─▶ activating ─▶ trying ─▶ confirmed
//!            │            │            │           │          │  │         │
//!            └────────────┴────────────┴───────────┴──────────┘  └────┬────┘
//!                         │                                           ▼
//!                         ▼                                      rolled-back
//!                 failed, withdrawn
//! ```
//!
//! From each end a newly assigned update begins at `assigned` again. What a machine was delivered with is `confirmed` at once,
//! after its slot was compared with the plan; so is what runs and was confirmed before, when a plan names it again after another update.

use fleet_types::UpdateState;
use serde::{Deserialize, Serialize};
use wire::v1::evidence::BootEvidence;
use wire::v1::reports::Reason;

use super::event::Event;
use super::update::{Intent, TrialBoot, Update, Verdict};

/// Where the update stands.
///
/// What a state needs to be continued after a power cut is inside it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum State {
    /// No update was ever assigned.
    Idle,
    /// Named by the plan; nothing was fetched.
    Assigned {
        /// Which update.
        update: Update,
    },
    /// Segments are missing; those that arrive are written at once.
    Fetching {
        /// Which update.
        update: Update,
        /// Segments written and checked.
        done: u64,
        /// Segments in all.
        total: u64,
        /// How often the complete torrent was verified again because segments did not check.
        verifies: u32,
    },
    /// All segments are written; sync and read-back.
    Installing {
        /// Which update.
        update: Update,
        /// Segments in all.
        total: u64,
    },
    /// Read back and equal to the payload's digest.
    Ready {
        /// Which update.
        update: Update,
        /// Segments in all.
        total: u64,
    },
    /// The trial is being set and the restart asked for.
    Activating {
        /// Which update.
        update: Update,
        /// Segments in all.
        total: u64,
        /// What was begun.
        intent: Intent,
    },
    /// Booted from the target slot; health is being checked.
    Trying {
        /// Which update.
        update: Update,
        /// Segments in all.
        total: u64,
        /// The boot.
        boot: TrialBoot,
    },
    /// Healthy, and the default from now on.
    Confirmed {
        /// Which update.
        update: Update,
        /// Segments in all.
        total: u64,
    },
    /// Given up before it was ever booted.
    Failed {
        /// Which update.
        update: Update,
        /// Segments written until then.
        done: u64,
        /// Segments in all; 0 if that was not known yet.
        total: u64,
        /// Why.
        verdict: Verdict,
    },
    /// Tried, and back on the old slot.
    RolledBack {
        /// Which update.
        update: Update,
        /// Segments in all.
        total: u64,
        /// Why.
        verdict: Verdict,
        /// What is left of the last boot that failed. Since format 2.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        evidence: Option<Box<BootEvidence>>,
    },
    /// The plan changed before the trial.
    Withdrawn {
        /// Which update.
        update: Update,
        /// Why.
        reason: Reason,
    },
}

/// A move that the table does not have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("event {event} is not allowed in state {from}: this is a bug; the state is unchanged")]
pub struct Forbidden {
    from: &'static str,
    event: &'static str,
}

/// The only transition table.
///
/// # Errors
/// The table does not have the move.
pub fn next(state: State, event: Event) -> Result<State, Forbidden> {
    use {Event as E, State as S};
    let forbidden = Forbidden { from: state.name(), event: event.name() };
    Ok(match (state, event) {
        (
            S::Idle | S::Confirmed { .. } | S::Failed { .. } | S::RolledBack { .. } | S::Withdrawn { .. },
            E::Assign(u),
        ) => S::Assigned { update: *u },
        (
            S::Idle | S::Confirmed { .. } | S::Failed { .. } | S::RolledBack { .. } | S::Withdrawn { .. },
            E::Delivered(u),
        ) => S::Confirmed { update: *u, total: 0 },
        (S::Assigned { update }, E::Prepared { total }) => S::Fetching { update, done: 0, total, verifies: 0 },
        // Again, because what had been fetched was lost: the count of verifications stays, so that it stays bounded.
        (S::Fetching { update, done, verifies, .. }, E::Prepared { total }) => {
            S::Fetching { update, done: done.min(total), total, verifies }
        }
        (S::Fetching { update, total, verifies, .. }, E::Progress { done }) if done <= total => {
            S::Fetching { update, done, total, verifies }
        }
        (S::Fetching { update, done, total, verifies }, E::VerifyAsked) => {
            S::Fetching { update, done, total, verifies: verifies + 1 }
        }
        (S::Fetching { update, done, total, .. }, E::AllWritten) if done == total => S::Installing { update, total },
        (S::Installing { update, total }, E::ReadBack) => S::Ready { update, total },
        (S::Ready { update, total }, E::Activate(intent)) => S::Activating { update, total, intent },
        // Again, because power was cut between the intent and the trial.
        (S::Activating { update, total, intent: old }, E::Activate(intent)) => {
            let again = old.again + 1;
            S::Activating { update, total, intent: Intent { again, restarts: old.restarts, ..intent } }
        }
        (S::Activating { update, total, intent }, E::RestartAsked) => {
            let restarts = intent.restarts + 1;
            S::Activating { update, total, intent: Intent { restarts, ..intent } }
        }
        (S::Activating { update, total, intent }, E::TrialBooted { boot_id, since }) => {
            let (failed_before, begun_in) = (intent.failed_before, Some(intent.boot_id));
            let boot = TrialBoot { boot_id, since, failed_before, verdict: None, begun_in };
            S::Trying { update, total, boot }
        }
        (S::Trying { update, total, boot }, E::TrialBooted { boot_id, since }) => {
            S::Trying { update, total, boot: TrialBoot { boot_id, since, ..boot } }
        }
        // The first verdict stands: what came after it may be a consequence.
        (S::Trying { update, total, boot }, E::Unhealthy(verdict)) if boot.verdict.is_none() => {
            S::Trying { update, total, boot: TrialBoot { verdict: Some(verdict), ..boot } }
        }
        (S::Trying { update, total, boot }, E::Confirmed) if boot.verdict.is_none() => S::Confirmed { update, total },
        (S::Activating { update, total, .. } | S::Trying { update, total, .. }, E::FellBack { verdict, evidence }) => {
            S::RolledBack { update, total, verdict, evidence }
        }
        (S::Assigned { update }, E::Fail(verdict)) => S::Failed { update, done: 0, total: 0, verdict },
        (S::Fetching { update, done, total, .. }, E::Fail(verdict)) => S::Failed { update, done, total, verdict },
        (
            S::Installing { update, total } | S::Ready { update, total } | S::Activating { update, total, .. },
            E::Fail(verdict),
        ) => S::Failed { update, done: total, total, verdict },
        (
            S::Assigned { update }
            | S::Fetching { update, .. }
            | S::Installing { update, .. }
            | S::Ready { update, .. }
            | S::Activating { update, .. },
            E::Withdraw(reason),
        ) => S::Withdrawn { update, reason },
        _ => return Err(forbidden),
    })
}

impl State {
    /// The state as the whole fleet calls it; `None` before the first update.
    pub const fn public(&self) -> Option<UpdateState> {
        Some(match self {
            Self::Idle => return None,
            Self::Assigned { .. } => UpdateState::Assigned,
            Self::Fetching { .. } => UpdateState::Fetching,
            Self::Installing { .. } => UpdateState::Installing,
            Self::Ready { .. } => UpdateState::Ready,
            Self::Activating { .. } => UpdateState::Activating,
            Self::Trying { .. } => UpdateState::Trying,
            Self::Confirmed { .. } => UpdateState::Confirmed,
            Self::Failed { .. } => UpdateState::Failed,
            Self::RolledBack { .. } => UpdateState::RolledBack,
            Self::Withdrawn { .. } => UpdateState::Withdrawn,
        })
    }

    /// The state's name, `idle` included.
    pub const fn name(&self) -> &'static str {
        match self.public() {
            Some(state) => state.as_str(),
            None => "idle",
        }
    }

    /// The update in hand, or the last one.
    pub const fn update(&self) -> Option<&Update> {
        match self {
            Self::Idle => None,
            Self::Assigned { update }
            | Self::Fetching { update, .. }
            | Self::Installing { update, .. }
            | Self::Ready { update, .. }
            | Self::Activating { update, .. }
            | Self::Trying { update, .. }
            | Self::Confirmed { update, .. }
            | Self::Failed { update, .. }
            | Self::RolledBack { update, .. }
            | Self::Withdrawn { update, .. } => Some(update),
        }
    }

    /// Whether something is being done.
    pub fn is_active(&self) -> bool {
        self.public().is_some_and(|s| !s.is_end())
    }

    /// Segments written and segments in all; 0 in all while unknown.
    pub const fn segments(&self) -> (u64, u64) {
        match self {
            Self::Idle | Self::Assigned { .. } | Self::Withdrawn { .. } => (0, 0),
            Self::Fetching { done, total, .. } | Self::Failed { done, total, .. } => (*done, *total),
            Self::Installing { total, .. }
            | Self::Ready { total, .. }
            | Self::Activating { total, .. }
            | Self::Trying { total, .. }
            | Self::Confirmed { total, .. }
            | Self::RolledBack { total, .. } => (*total, *total),
        }
    }

    /// Why it ended as it did, or why the trial is lost.
    pub const fn reason(&self) -> Option<&Reason> {
        match self {
            Self::Failed { verdict, .. } | Self::RolledBack { verdict, .. } => Some(&verdict.reason),
            Self::Withdrawn { reason, .. } => Some(reason),
            Self::Trying { boot: TrialBoot { verdict: Some(verdict), .. }, .. } => Some(&verdict.reason),
            _ => None,
        }
    }

    /// What is left of the last boot that failed.
    pub fn evidence(&self) -> Option<&BootEvidence> {
        match self {
            Self::RolledBack { evidence, .. } => evidence.as_deref(),
            _ => None,
        }
    }
}
