//! Bounds that decisions keep.

use std::time::Duration;

use chrono::TimeDelta;

/// Trials of a payload without a judgement, after which the payload is to blame.
///
/// A kernel that panics early looks like a power cut, and a broken network driver like a silent branch server.
pub const UNJUDGED_TRIALS: u32 = 3;

/// Bounds that decisions keep.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Failures of a step before the update is given up.
    pub attempts: u32,
    /// Boots that the bootloader gives a trial.
    pub trial_attempts: u8,
    /// Restarts asked for, and activations begun again, before the update is given up.
    pub restarts: u32,
    /// How long a restart that was asked for may take to happen.
    pub restart_patience: Duration,
    /// Verifications of a complete torrent whose segments do not check.
    pub verifies: u32,
    /// Segments written between two looks at the world.
    pub batch: usize,
    /// How often to look when nothing happens.
    pub idle_poll: Duration,
    /// How often to look at the engine.
    pub engine_poll: Duration,
    /// How often to check health in the trial.
    pub health_poll: Duration,
    /// How long the branch may stay silent in the trial.
    pub branch_wait: Duration,
    /// How long the trial may last.
    pub trial_deadline: Duration,
}

/// How a bad end is followed up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Most further attempts under one plan.
    pub attempts: u32,
    /// The wait before the first; it doubles with each.
    pub wait: TimeDelta,
}
