//! Judges looks at one daemon's torrents. Pure: measures are returned, and noted once they were taken.

use fleet_types::InfoHash;

use super::guard::{Guard, Watch};
use super::shunned::Shunned;
use super::stalls::Stalls;
use crate::measures::{Duty, Measure, Observation, Renewal};

/// What earlier looks showed. Losing it costs some pieces and some time.
#[derive(Debug, Default)]
pub(super) struct Memory {
    guard: Guard,
    stalls: Stalls,
    shunned: Shunned,
}

impl Memory {
    /// Judges one look. What is not noted as taken is asked for again.
    pub(super) fn judge(&mut self, observation: &Observation) -> Vec<Measure> {
        let Observation { subject, peers, sources } = observation;
        let (hash, status, at) = (&subject.hash, &subject.status, subject.at);
        let mut measures = Vec::new();
        if self.stalls.look(hash, status, at) {
            measures.push(Measure::Announce);
        }
        let is_kept_away = self.shunned.look(hash, status, &subject.duty, at);
        match (&subject.duty, peers) {
            (Duty::Fetch, Some(peers)) => {
                let judged = self.guard.judge(Watch { hash, status, sources, at }, peers);
                measures.extend(judged.report.map(Measure::Report));
                measures.extend(judged.refuse.map(Measure::Refuse));
                measures.extend(judged.renew.then_some(Measure::Renew(Renewal::BadData)));
            }
            (Duty::Fetch, None) | (Duty::Serve { .. }, _) => {}
        }
        if is_kept_away && !measures.iter().any(|measure| matches!(measure, Measure::Renew(_))) {
            measures.push(Measure::Renew(Renewal::PeerKeptAway));
        }
        measures
    }

    /// Notes that a measure was taken.
    pub(super) fn taken(&mut self, hash: &InfoHash, measure: &Measure) {
        match measure {
            Measure::Refuse(addresses) => self.guard.refusing(addresses.clone()),
            Measure::Renew(Renewal::BadData) => self.guard.renewed(hash),
            Measure::Renew(Renewal::PeerKeptAway) => self.shunned.renewed(hash),
            Measure::Announce | Measure::Report(_) => {}
        }
    }
}

#[cfg(test)]
#[path = "memory_tests.rs"]
mod tests;
