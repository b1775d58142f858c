//! Finds torrents whose client shuns a peer that needs them.
//!
//! For as long as it has a torrent, transmission-daemon 3.00 takes a peer that was complete once for a seed and hangs up on it
//! (`tr_peerIsSeed` in its peer-mgr.c). A terminal that lost what it had fetched, as by a power cut before its disk had it,
//! would never get it again. So a torrent without connected peers, while its tracker counts one that fetches, is to
//! be added again: that clears what the client believes of its peers.

use std::collections::BTreeMap;
use std::time::Duration;

use fleet_types::InfoHash;

use crate::TorrentStatus;

/// So long it must be seen. Longer than [`super::stalls::Stalls`] waits before it has the tracker count again.
const SEEN: Duration = Duration::from_secs(60);
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

/// How long torrents have had no peer although one fetches.
#[derive(Debug, Default)]
pub(super) struct Shunned(BTreeMap<InfoHash, Seen>);

impl Shunned {
    /// Takes a look at `at` (time since some fixed moment); true if the torrent is to be removed from the client, its
    /// content kept, and added again; then note [`Shunned::renewed`]. `tracker` is the announce URL whose count says who should be served from here.
    pub(super) fn look(&mut self, hash: &InfoHash, status: &TorrentStatus, tracker: &str, at: Duration) -> bool {
        if self.0.len() >= MAX_TORRENTS && !self.0.contains_key(hash) {
            self.0.clear();
        }
        let seen = self.0.entry(*hash).or_default();
        let somebody = status.fetching.get(tracker).is_some_and(|count| *count > 0);
        if !status.complete || !status.running || status.peers > 0 || !somebody {
            seen.since = None;
            return false;
        }
        let since = *seen.since.get_or_insert(at);
        if at < since + SEEN || seen.renewed.is_some_and(|renewed| at < renewed + REST) {
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

#[cfg(test)]
mod tests {
    use super::*;

    const LAN: &str = "http://lan/announce";

    fn alone(fetching: u32) -> TorrentStatus {
        let fetching = [(LAN.to_owned(), fetching), ("http://wan/announce".to_owned(), 3)].into();
        TorrentStatus { complete: true, running: true, total_bytes: 100, fetching, ..TorrentStatus::default() }
    }

    #[test]
    fn somebody_who_fetches_and_is_never_connected_is_let_in_anew_now_and_then() {
        let (mut shunned, hash) = (Shunned::default(), InfoHash::new([1; 20]));
        let mut renewed = Vec::new();
        for at in (0..2000).map(Duration::from_secs) {
            if shunned.look(&hash, &alone(1), LAN, at) {
                shunned.renewed(&hash);
                renewed.push(at.as_secs());
            }
        }
        assert_eq!(renewed, [60, 660, 1260, 1860]);
    }

    #[test]
    fn whoever_is_served_or_fetches_elsewhere_changes_nothing() {
        let (mut shunned, hash) = (Shunned::default(), InfoHash::new([1; 20]));
        let mut look = |status: &TorrentStatus, at| shunned.look(&hash, status, LAN, Duration::from_secs(at));
        let served = TorrentStatus { peers: 1, ..alone(1) };
        let partly = TorrentStatus { complete: false, ..alone(1) };
        let uncounted = TorrentStatus { fetching: BTreeMap::new(), ..alone(1) };
        for at in 0..500 {
            for other in [&served, &partly, &uncounted, &alone(0)] {
                // One look between at a peer that is shunned: not long enough.
                assert!(!look(&alone(1), at) && !look(other, at), "{at}: {other:?}");
            }
        }
    }
}
