//! Torrents that the daemon must take anew. For as long as it has a torrent, transmission-daemon 3.00 takes whoever was
//! complete once for a seed and hangs up on it (`tr_peerIsSeed` in its peer-mgr.c): a branch server that lost what it
//! had would never get it back.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

use chrono::{DateTime, TimeDelta, Utc};
use fleet_types::Digest;

/// While a torrent is verified again nobody is served: what branch servers say must not cause that too often.
const REST: TimeDelta = TimeDelta::minutes(10);

/// Which artifacts' torrents are to be taken anew, and when each was last. In memory: the daemon of a program that starts
/// anew is asked to forget by the next branch that says so.
#[derive(Debug, Default)]
pub struct Renewals(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    wanted: BTreeSet<Digest>,
    done: BTreeMap<Digest, DateTime<Utc>>,
}

impl Renewals {
    /// A branch server lost these.
    pub fn ask(&self, artifacts: impl IntoIterator<Item = Digest>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).wanted.extend(artifacts);
    }

    /// Those whose turn it is now; the others wait until they have rested.
    pub fn take(&self, now: DateTime<Utc>) -> BTreeSet<Digest> {
        let state = &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // A clock that was set back must not make anything wait longer.
        state.done.retain(|_, at| *at <= now && now < *at + REST);
        let due: BTreeSet<Digest> = state.wanted.iter().filter(|a| !state.done.contains_key(a)).copied().collect();
        state.wanted.retain(|a| !due.contains(a));
        state.done.extend(due.iter().map(|a| (*a, now)));
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_taken_once_and_then_rests() {
        let (renewals, one, two) = (Renewals::default(), Digest::new([1; 32]), Digest::new([2; 32]));
        let at = |minutes| DateTime::UNIX_EPOCH + TimeDelta::minutes(minutes);
        renewals.ask([one]);
        renewals.ask([one]);
        assert_eq!(renewals.take(at(0)), [one].into());
        assert_eq!(renewals.take(at(0)), [].into());
        renewals.ask([one, two]);
        assert_eq!(renewals.take(at(1)), [two].into());
        assert_eq!(renewals.take(at(9)), [].into());
        assert_eq!(renewals.take(at(10)), [one].into());
        renewals.ask([one]);
        assert_eq!(renewals.take(at(5)), [one].into(), "the clock was set back");
    }
}
