//! Finds torrents whose client keeps away from a peer that it needs, or that needs it.
//!
//! For as long as it has a torrent, transmission-daemon 3.00 takes a peer that was complete once for a seed and hangs up on it
//! (`tr_peerIsSeed` in its peer-mgr.c). A terminal that lost what it had fetched, as by a power cut before its disk had it,
//! would never get it again. And it tries a peer that it could not reach some times once in two hours
//! (`getReconnectIntervalSecs`): after a night without the WAN a branch would wait that long. So a torrent without connected
//! peers, while its tracker counts one that should be, is to be added again: that clears what the client believes of its
//! peers.

use std::collections::BTreeMap;
use std::time::Duration;

use fleet_types::InfoHash;

use crate::TorrentStatus;
use crate::measures::Duty;

/// How long a client that fetches must have been without a connection to us. Longer than [`super::stalls::Stalls`] waits before it has the
/// tracker count again.
const SERVING: Duration = Duration::from_secs(60);
/// How long we must have been without a connection to a source. Longer than the two minutes after which the client tries a
/// second time by itself.
const FETCHING: Duration = Duration::from_secs(180);
/// While a torrent is verified again no peer is served: what a tracker counts must not cause that too often.
const REST: Duration = Duration::from_secs(600);
/// Most torrents that are remembered.
const MAX_TORRENTS: usize = 256;

#[derive(Debug, Default)]
struct Seen {
    since: Option<Duration>,
    /// When a look last asked for the renewal.
    asked: Option<Duration>,
    renewed: Option<Duration>,
}

/// How long torrents have had no peer although there is one.
#[derive(Debug, Default)]
pub(super) struct Shunned(BTreeMap<InfoHash, Seen>);

impl Shunned {
    /// Takes a look at `at` (time since some fixed moment); true if the torrent is to be removed from the client, its
    /// content kept, and added again; then note [`Shunned::renewed`].
    pub(super) fn look(&mut self, hash: &InfoHash, status: &TorrentStatus, duty: &Duty, at: Duration) -> bool {
        if self.0.len() >= MAX_TORRENTS && !self.0.contains_key(hash) {
            self.0.clear();
        }
        let seen = self.0.entry(*hash).or_default();
        let Some(patience) = patience(status, duty) else {
            seen.since = None;
            return false;
        };
        let since = *seen.since.get_or_insert(at);
        if at < since + patience || seen.renewed.is_some_and(|renewed| at < renewed + REST) {
            return false;
        }
        seen.asked = Some(at);
        true
    }

    /// Notes that the torrent was added again after the last look. Until then every look asks for it.
    pub(super) fn renewed(&mut self, hash: &InfoHash) {
        if let Some(seen) = self.0.get_mut(hash) {
            (seen.since, seen.renewed) = (None, seen.asked);
        }
    }
}

/// How long a torrent may stay without peers as it is now; `None` if no peer is missing.
fn patience(status: &TorrentStatus, duty: &Duty) -> Option<Duration> {
    if !status.running || status.verifying || status.peers > 0 {
        return None;
    }
    match duty {
        Duty::Serve { tracker } => {
            let is_wanted = status.fetching.get(tracker).is_some_and(|count| *count > 0);
            (status.complete && is_wanted).then_some(SERVING)
        }
        Duty::Fetch => {
            let is_served = status.serving.values().any(|count| *count > 0);
            (!status.complete && is_served).then_some(FETCHING)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAN: &str = "http://lan/announce";

    fn alone(fetching: u32) -> TorrentStatus {
        let fetching = [(LAN.to_owned(), fetching), ("http://wan/announce".to_owned(), 3)].into();
        TorrentStatus { complete: true, running: true, total_bytes: 100, fetching, ..TorrentStatus::default() }
    }

    fn waiting(serving: u32) -> TorrentStatus {
        let serving = [(LAN.to_owned(), 0), ("http://wan/announce".to_owned(), serving)].into();
        TorrentStatus { running: true, total_bytes: 100, serving, ..TorrentStatus::default() }
    }

    fn serve() -> Duty {
        Duty::Serve { tracker: LAN.to_owned() }
    }

    /// The seconds at which it is added again, if nothing changes.
    fn renewals(status: &TorrentStatus, duty: &Duty) -> Vec<u64> {
        let (mut shunned, hash) = (Shunned::default(), InfoHash::new([1; 20]));
        let mut renewed = Vec::new();
        for at in (0..2000).map(Duration::from_secs) {
            if shunned.look(&hash, status, duty, at) {
                shunned.renewed(&hash);
                renewed.push(at.as_secs());
            }
        }
        renewed
    }

    #[test]
    fn somebody_who_fetches_and_is_never_connected_is_let_in_anew_now_and_then() {
        assert_eq!(renewals(&alone(1), &serve()), [60, 660, 1260, 1860]);
    }

    #[test]
    fn a_source_that_answers_the_tracker_again_is_tried_anew_now_and_then() {
        assert_eq!(renewals(&waiting(1), &Duty::Fetch), [180, 780, 1380, 1980]);
        let unanswered = TorrentStatus { serving: BTreeMap::new(), ..waiting(1) };
        assert!(renewals(&unanswered, &Duty::Fetch).is_empty(), "adding it again would only verify it");
    }

    #[test]
    fn whoever_is_served_or_fetches_elsewhere_changes_nothing() {
        let (mut shunned, hash) = (Shunned::default(), InfoHash::new([1; 20]));
        let mut look =
            |status: &TorrentStatus, duty: &Duty, at| shunned.look(&hash, status, duty, Duration::from_secs(at));
        let served = TorrentStatus { peers: 1, ..alone(1) };
        let partly = TorrentStatus { complete: false, ..alone(1) };
        let uncounted = TorrentStatus { fetching: BTreeMap::new(), ..alone(1) };
        let fetching = TorrentStatus { peers: 1, ..waiting(1) };
        let verifying = TorrentStatus { verifying: true, ..waiting(1) };
        let done = TorrentStatus { complete: true, ..waiting(1) };
        for at in 0..500 {
            for other in [&served, &partly, &uncounted, &alone(0)] {
                // One look between at a peer that is shunned: not long enough.
                assert!(!look(&alone(1), &serve(), at) && !look(other, &serve(), at), "{at}: {other:?}");
            }
            for other in [&fetching, &verifying, &done, &waiting(0)] {
                assert!(!look(&waiting(1), &Duty::Fetch, at) && !look(other, &Duty::Fetch, at), "{at}: {other:?}");
            }
        }
    }
}
