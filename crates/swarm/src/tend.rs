//! Looking after a torrent's peers, in three steps that never mix: [`Engine::observe`] only looks, [`Engine::judge`]
//! decides and does nothing, [`Engine::tend`] takes exactly one measure that was decided.
//!
//! What calls for a measure is the engine's matter: one engine guesses who sent bad data, another knows. A program hands
//! every measure back to its engine, records those that were taken, and reports [`Outcome::bad_data`].

use fleet_types::InfoHash;

pub use crate::measures::{BadData, Duty, MAX_CANDIDATES, Measure, Observation, Renewal, Subject};
use crate::{Engine, EngineError};

/// What came of the measures for one torrent.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Those that were taken, in order.
    pub taken: Vec<Measure>,
    /// Those that failed. The engine asks for them again at the next look.
    pub failed: Vec<(Measure, EngineError)>,
}

impl Outcome {
    /// Bad data that is to be reported.
    pub fn bad_data(&self) -> Option<&BadData> {
        self.taken.iter().find_map(|measure| match measure {
            Measure::Report(bad) => Some(bad),
            _ => None,
        })
    }

    /// Whether the trackers were asked again because nothing moves, with or without an answer.
    pub fn stalled(&self) -> bool {
        let failed = self.failed.iter().map(|(measure, _)| measure);
        self.taken.iter().chain(failed).any(|measure| *measure == Measure::Announce)
    }

    /// Whether the torrent was removed: the program adds it again.
    pub fn removed(&self) -> bool {
        self.taken.iter().any(|measure| matches!(measure, Measure::Renew(_)))
    }
}

/// Takes measures in their order. After a failure the rest waits for the next look, unless the trackers did not answer.
pub async fn take(engine: &dyn Engine, hash: &InfoHash, measures: Vec<Measure>) -> Outcome {
    let mut outcome = Outcome::default();
    for measure in measures {
        match engine.tend(hash, &measure).await {
            Ok(()) => outcome.taken.push(measure),
            Err(error) => {
                let last = measure != Measure::Announce;
                outcome.failed.push((measure, error));
                if last {
                    break;
                }
            }
        }
    }
    outcome
}
