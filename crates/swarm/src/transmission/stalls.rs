//! When a torrent that gets nowhere should ask its trackers again.
//!
//! A client comes back to a tracker when the tracker said so: a tracker that lies can say "in 68 years", and one that
//! was restarted has forgotten every peer for half an hour. So a torrent that waits announces itself again, less and
//! less often; one that is complete does so while no peer is connected.

use std::collections::BTreeMap;
use std::time::Duration;

use fleet_types::InfoHash;

use crate::TorrentStatus;

/// The first time it is asked again after so long without a byte.
const FIRST: Duration = Duration::from_secs(30);
/// A peer is connected, and merely keeps it waiting: asking would break off what is about to begin.
const CONNECTED: Duration = Duration::from_secs(180);
/// And never less often than this.
const LAST: Duration = Duration::from_secs(600);
/// Most torrents that are remembered.
const MAX_TORRENTS: usize = 256;

#[derive(Debug, Clone, Copy)]
struct Seen {
    moved: u64,
    since: Duration,
    next: Duration,
    wait: Duration,
}

/// How long torrents have been getting nowhere.
#[derive(Debug, Default)]
pub(super) struct Stalls(BTreeMap<InfoHash, Seen>);

impl Stalls {
    /// Takes a look at `at` (time since some fixed moment); true if the trackers should be asked now.
    pub(super) fn look(&mut self, hash: &InfoHash, status: &TorrentStatus, at: Duration) -> bool {
        let moved = status.received_bytes.saturating_add(status.sent_bytes);
        let fresh = Seen { moved, since: at, next: at + FIRST, wait: FIRST };
        if self.0.len() >= MAX_TORRENTS && !self.0.contains_key(hash) {
            self.0.clear();
        }
        let seen = self.0.entry(*hash).or_insert(fresh);
        let served = status.complete && status.peers > 0;
        if served || status.verifying || !status.running || moved != seen.moved {
            *seen = fresh;
            return false;
        }
        if at < seen.next || (status.peers > 0 && at < seen.since + CONNECTED) {
            return false;
        }
        seen.wait = (seen.wait * 2).min(LAST);
        seen.next = at + seen.wait;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(received_bytes: u64) -> TorrentStatus {
        TorrentStatus { running: true, total_bytes: 100, received_bytes, ..TorrentStatus::default() }
    }

    #[test]
    fn what_gets_nowhere_asks_again_less_and_less_often() {
        let (mut stalls, hash) = (Stalls::default(), InfoHash::new([1; 20]));
        let asked: Vec<u64> = (0..4000).filter(|at| stalls.look(&hash, &status(0), Duration::from_secs(*at))).collect();
        assert_eq!(asked, [30, 90, 210, 450, 930, 1530, 2130, 2730, 3330, 3930]);
    }

    #[test]
    fn whoever_is_connected_is_waited_for_longer() {
        let (mut stalls, hash) = (Stalls::default(), InfoHash::new([1; 20]));
        let choked = TorrentStatus { peers: 1, ..status(0) };
        let asked: Vec<u64> = (0..1000).filter(|at| stalls.look(&hash, &choked, Duration::from_secs(*at))).collect();
        assert_eq!(asked, [180, 240, 360, 600]);
    }

    #[test]
    fn what_moves_or_verifies_or_serves_does_not() {
        let (mut stalls, hash) = (Stalls::default(), InfoHash::new([1; 20]));
        let mut ask = |status: &TorrentStatus, at| stalls.look(&hash, status, Duration::from_secs(at));
        for at in 0..2000 {
            assert!(!ask(&status(at), at), "{at}");
            assert!(!ask(&TorrentStatus { verifying: true, ..status(at) }, at));
        }
        let complete = TorrentStatus { complete: true, peers: 1, ..status(1) };
        assert!(!ask(&complete, 9000) && !ask(&complete, 10_000), "somebody is connected");
        let alone = TorrentStatus { peers: 0, ..complete };
        assert!(!ask(&alone, 10_001));
        assert!(ask(&alone, 10_031), "a tracker may have forgotten it");
    }
}
