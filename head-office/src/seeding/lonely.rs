//! Decides when a torrent that no peer fetches, although a branch should, is announced again. Pure.
//!
//! A tracker that was restarted has forgotten who serves it, and the daemon comes back to a tracker after half an hour.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, TimeDelta, Utc};
use fleet_types::InfoHash;
use swarm::TorrentStatus;

/// How long a peer is waited for before the first time.
const FIRST: TimeDelta = TimeDelta::seconds(30);
/// The longest time between two.
const LAST: TimeDelta = TimeDelta::minutes(10);

#[derive(Debug, Clone, Copy)]
struct Waits {
    next: DateTime<Utc>,
    wait: TimeDelta,
}

/// Torrents without peers. Losing it costs half a minute.
#[derive(Debug, Default)]
pub struct Lonely(BTreeMap<InfoHash, Waits>);

impl Lonely {
    /// Takes a look at a torrent that a branch should fetch; true if it is to be announced now, less and less often.
    pub fn look(&mut self, hash: &InfoHash, status: &TorrentStatus, now: DateTime<Utc>) -> bool {
        let is_lonely = status.complete && status.running && !status.verifying && status.peers == 0;
        if !is_lonely {
            self.0.remove(hash);
            return false;
        }
        let waits = self.0.entry(*hash).or_insert(Waits { next: now + FIRST, wait: FIRST });
        // Later than the longest wait: the clock was set back.
        if now < waits.next && waits.next - now <= LAST {
            return false;
        }
        waits.wait = (waits.wait * 2).min(LAST);
        waits.next = now + waits.wait;
        true
    }

    /// Forgets what no branch should fetch any more.
    pub fn keep(&mut self, fetched: &BTreeSet<InfoHash>) {
        self.0.retain(|hash, _| fetched.contains(hash));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_peer_fetches_is_announced_less_and_less_often() {
        let (mut lonely, hash) = (Lonely::default(), InfoHash::new([1; 20]));
        let begin = DateTime::from_timestamp(1_800_000_000, 0).unwrap();
        let alone = TorrentStatus { complete: true, running: true, ..TorrentStatus::default() };
        let mut asked = |status: &TorrentStatus, seconds: std::ops::Range<i64>| {
            let look = |at: &i64| lonely.look(&hash, status, begin + TimeDelta::seconds(*at));
            seconds.filter(look).collect::<Vec<i64>>()
        };
        assert_eq!(asked(&alone, 0..2000), [30, 90, 210, 450, 930, 1530]);
        for busy in [
            TorrentStatus { peers: 1, ..alone.clone() },
            TorrentStatus { verifying: true, ..alone.clone() },
            TorrentStatus { complete: false, ..alone.clone() },
            TorrentStatus { running: false, ..alone.clone() },
        ] {
            assert_eq!(asked(&busy, 2000..4000), [] as [i64; 0], "{busy:?}");
        }
        assert_eq!(asked(&alone, 4000..4031), [4030], "from the beginning once it is alone again");
        assert_eq!(asked(&alone, -9000..-8970).len(), 1, "the clock was set back by hours");
    }
}
