//! Decides what a look at an artifact means: what the engine says of its torrent, and what its complete file hashes to.
//! Pure: [`super::run`] and [`super::check`] do exactly what comes out.

use std::time::Duration;

use chrono::TimeDelta;
use fleet_types::Digest;
use service_kit::retry::bound_after;

use super::model::Stage;
use super::trouble::Trouble;

/// How long the engine gets to begin its own verification before it is asked about it again.
const VERIFY_BEGINS: Duration = Duration::from_secs(5);

/// A torrent that was added again for its trackers is not added for them again before that: an engine may write their
/// addresses in another way.
const SETTLES: TimeDelta = TimeDelta::minutes(10);

/// The longest backoff after a mismatch.
const LONGEST_BACKOFF: Duration = Duration::from_secs(3600);

/// What the engine says of a torrent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Answer {
    /// Bytes of verified pieces.
    pub have_bytes: u64,
    /// Everything is held and verified.
    pub complete: bool,
    /// The engine is hashing what is on the disk.
    pub verifying: bool,
    /// It is started.
    pub running: bool,
    /// It announces to this branch's tracker, at the address of the configuration.
    pub announces_here: bool,
    /// Bytes received per second.
    pub rate_down: u64,
    /// A complaint of the engine or a tracker.
    pub trouble: Option<String>,
}

/// One look at an artifact that the engine has.
#[derive(Debug, Clone, Copy)]
pub struct Look<'a> {
    /// The recorded stage.
    pub stage: Stage,
    /// Length of the artifact in bytes.
    pub length: u64,
    /// The recorded progress in bytes.
    pub recorded_bytes: u64,
    /// How often its complete file was not what the plan names.
    pub mismatches: u32,
    /// Whether the engine was asked to verify it since it was last held.
    pub verified: bool,
    /// How long ago it was added again after a look.
    pub since_added: Option<TimeDelta>,
    /// The engine's answer; none if the engine does not have the torrent any more.
    pub answer: Option<&'a Answer>,
}

/// One thing to do after a look, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// It stands still, or announces where the tracker was before: add it again, which starts it with the trackers of today.
    Resume,
    /// It is held and complete: a later loss may be verified again.
    Settle,
    /// It serves terminals: see that the engine keeps no terminal away.
    Serve,
    /// It is complete: hash the whole file.
    Check,
    /// The engine may have forgotten what is on the disk: have it look there before anything is fetched twice.
    Verify,
    /// It is being fetched: see who sends bad data. If the torrent is removed for that, the steps that follow are void.
    Guard,
    /// It was held and is not complete any more: it counts as being fetched again.
    Damaged,
    /// Record the progress.
    Note {
        /// Bytes that are verified.
        have_bytes: u64,
        /// Whether it is complete and checked.
        complete: bool,
        /// What keeps it from getting on.
        trouble: Option<Trouble>,
    },
}

/// Decides what follows from a look.
pub fn after_look(look: Look<'_>) -> Vec<Step> {
    // Gone since it was listed: the next pass adds it again.
    let Some(answer) = look.answer.filter(|answer| !answer.verifying) else { return Vec::new() };
    let mut steps = Vec::new();
    let settles = look.since_added.is_some_and(|since| since.abs() < SETTLES);
    if !answer.running || !(answer.announces_here || settles) {
        steps.push(Step::Resume);
    }
    match (look.stage, answer.complete) {
        (Stage::Held, true) => {
            let note = Step::Note { have_bytes: look.length, complete: true, trouble: None };
            steps.extend([Step::Settle, Step::Serve, note]);
        }
        (_, true) => steps.push(Step::Check),
        // A daemon that was killed may have forgotten what it had.
        (stage, false) if !look.verified && (stage == Stage::Held || answer.have_bytes < look.recorded_bytes / 2) => {
            steps.push(Step::Verify);
        }
        (stage, false) => {
            let damaged = stage == Stage::Held;
            steps.push(Step::Guard);
            if damaged {
                steps.push(Step::Damaged);
            }
            let trouble = in_the_way(look, answer, damaged);
            steps.push(Step::Note { have_bytes: answer.have_bytes, complete: false, trouble });
        }
    }
    steps
}

/// What keeps an incomplete artifact from getting on, as far as that is known.
fn in_the_way(look: Look<'_>, answer: &Answer, damaged: bool) -> Option<Trouble> {
    // A tracker that does not answer does not matter as long as bytes arrive.
    if let Some(says) = answer.trouble.as_ref().filter(|_| answer.rate_down == 0) {
        return Some(Trouble::Engine { says: says.clone() });
    }
    if damaged {
        return Some(Trouble::Damaged);
    }
    (look.mismatches > 0).then_some(Trouble::Refetching { times: look.mismatches })
}

/// What the hash of a complete file means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It is what the plan names.
    Hold,
    /// It is not, although every piece matches: have the engine verify the pieces once more.
    VerifyAgain {
        /// What to show.
        trouble: Trouble,
        /// How long to wait.
        backoff: Duration,
    },
    /// It is not, also after that: drop the file and fetch it again.
    FetchAgain {
        /// What to show.
        trouble: Trouble,
        /// How long to wait.
        backoff: Duration,
    },
}

/// Judges the hash of a complete file, which is the `times`th that differs if it differs. A page may have been damaged
/// after the engine checked it, so every first mismatch is verified and every second one dropped. `retry` is the setting.
pub fn after_hash(planned: Digest, found: Digest, times: u32, retry: Duration) -> Verdict {
    if planned == found {
        return Verdict::Hold;
    }
    if times % 2 == 1 {
        return Verdict::VerifyAgain { trouble: Trouble::Mismatch { found, planned }, backoff: VERIFY_BEGINS };
    }
    let backoff = bound_after(times / 2, retry * 15, LONGEST_BACKOFF);
    Verdict::FetchAgain { trouble: Trouble::MismatchAgain { found, planned, backoff }, backoff }
}

#[cfg(test)]
#[path = "watch_tests.rs"]
mod tests;
