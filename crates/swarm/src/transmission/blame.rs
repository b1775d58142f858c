//! Who sent bad data: decided from what a client says of itself, look after look.
//!
//! A client says how many bytes did not match their hashes, and who is connected, but not who sent what. So every
//! peer that was seen sending in the time before is a candidate; events in a row leave those that were there each time. What is
//! not certain is said to be one of several, and the source that the torrent lives from is among them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use crate::Peer;
use crate::measures::{BadData, MAX_CANDIDATES};

/// How long before an event a candidate may have been seen sending: a piece is put together from several peers, over
/// some seconds, and judged at its end.
const WINDOW: Duration = Duration::from_secs(60);

/// Events in a row that must leave one candidate before it is called certain: a peer that came, spoiled a piece and
/// was thrown out between two looks was never seen.
const CERTAIN_EVENTS: u32 = 2;

/// One look at a torrent.
#[derive(Debug, Clone, Copy)]
pub(super) struct Look<'a> {
    /// When, as time since some fixed moment.
    pub at: Duration,
    /// Bytes received whose piece did not match its hash, in the torrent's life at this client.
    pub corrupt_bytes: u64,
    /// Who is connected.
    pub peers: &'a [Peer],
    /// Where the torrent comes from. It sends all the time, so that it stood by at every bad piece proves nothing as
    /// long as another peer did too.
    pub sources: &'a BTreeSet<IpAddr>,
}

/// What earlier looks at one torrent showed.
#[derive(Debug, Clone, Default)]
pub(super) struct Blame {
    corrupt: Option<u64>,
    /// When each was last seen sending.
    senders: BTreeMap<IpAddr, Duration>,
    /// Who was a candidate at every event since the last one that no single peer explains, and how many those were.
    narrowed: Option<(BTreeSet<IpAddr>, u32)>,
}

impl Blame {
    /// Takes a look; what it shows, if bad data arrived since the last one. The first look shows where counting
    /// begins: what was thrown away before it is not reported.
    pub(super) fn look(&mut self, look: &Look<'_>) -> Option<BadData> {
        let connected: BTreeSet<IpAddr> = look.peers.iter().map(|p| p.address.ip().to_canonical()).collect();
        let sending: BTreeSet<IpAddr> =
            look.peers.iter().filter(|p| p.rate_down > 0).map(|p| p.address.ip().to_canonical()).collect();
        self.senders.extend(sending.iter().map(|address| (*address, look.at)));
        self.senders.retain(|_, seen| look.at.saturating_sub(*seen) <= WINDOW);
        while self.senders.len() > MAX_CANDIDATES
            && let Some(oldest) =
                self.senders.iter().min_by_key(|(a, seen)| (sending.contains(a), **seen)).map(|(address, _)| *address)
        {
            self.senders.remove(&oldest);
        }
        let before = self.corrupt.replace(look.corrupt_bytes);
        let wasted_bytes = match before {
            // Less than before: the torrent was added again and counts from zero.
            Some(before) if look.corrupt_bytes < before => look.corrupt_bytes,
            Some(before) => look.corrupt_bytes - before,
            None => 0,
        };
        if wasted_bytes == 0 {
            return None;
        }
        let (narrowed, events) = self.narrow(look.sources);
        let mut candidates: Vec<IpAddr> = narrowed.iter().copied().collect();
        // One that is gone just after a piece was bad has most likely been thrown out for it.
        candidates.sort_by_key(|address| (connected.contains(address), *address));
        let certain = candidates.len() == 1 && events >= CERTAIN_EVENTS;
        Some(BadData { wasted_bytes, candidates, certain })
    }

    fn narrow(&mut self, sources: &BTreeSet<IpAddr>) -> (BTreeSet<IpAddr>, u32) {
        let now: BTreeSet<IpAddr> = self.senders.keys().copied().collect();
        let narrowed = match self.narrowed.take() {
            Some((before, events)) => {
                let both: BTreeSet<IpAddr> = before.intersection(&now).copied().collect();
                // Only sources were there each time: there is more than one culprit.
                let explained = both.iter().any(|a| !sources.contains(a)) || now.is_subset(sources);
                if both.is_empty() || !explained { (now, 1) } else { (both, events.saturating_add(1)) }
            }
            None => (now, 1),
        };
        self.narrowed = Some(narrowed.clone());
        narrowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn peer(last: u8, rate_down: u64) -> Peer {
        Peer {
            address: std::net::SocketAddr::from(([10, 0, 0, last], 51_413)),
            client: String::new(),
            progress: 1.0,
            rate_down,
            rate_up: 0,
        }
    }

    fn ip(last: u8) -> IpAddr {
        [10, 0, 0, last].into()
    }

    fn look(blame: &mut Blame, at: u64, corrupt_bytes: u64, senders: &[u8]) -> Option<BadData> {
        let peers: Vec<Peer> = senders.iter().map(|n| peer(*n, 1)).collect();
        blame.look(&Look { at: Duration::from_secs(at), corrupt_bytes, peers: &peers, sources: &BTreeSet::new() })
    }

    #[test]
    fn whoever_was_there_each_time_is_left() {
        let mut blame = Blame::default();
        assert_eq!(look(&mut blame, 0, 0, &[1, 2, 3]), None);
        let first = look(&mut blame, 1, 100, &[1, 2, 3]).unwrap();
        assert_eq!((first.wasted_bytes, first.candidates, first.certain), (100, vec![ip(1), ip(2), ip(3)], false));
        // Long after, 1 has not sent for more than the window.
        assert_eq!(look(&mut blame, 100, 100, &[2, 3]), None);
        let second = look(&mut blame, 101, 150, &[2, 3]).unwrap();
        assert_eq!((second.wasted_bytes, second.candidates, second.certain), (50, vec![ip(2), ip(3)], false));
        let third = look(&mut blame, 201, 151, &[3]).unwrap();
        assert_eq!((third.candidates, third.certain), (vec![ip(3)], true));
    }

    #[test]
    fn one_candidate_once_is_not_certain_and_nobody_is_nobody() {
        let mut blame = Blame::default();
        look(&mut blame, 0, 0, &[]);
        let unseen = look(&mut blame, 1, 10, &[]).unwrap();
        assert_eq!((unseen.candidates, unseen.certain), (vec![], false));
        let mut blame = Blame::default();
        look(&mut blame, 0, 0, &[7]);
        assert!(!look(&mut blame, 1, 10, &[7]).unwrap().certain);
        assert!(look(&mut blame, 2, 20, &[7]).unwrap().certain);
    }

    #[test]
    fn one_that_is_gone_comes_first() {
        let mut blame = Blame::default();
        look(&mut blame, 0, 0, &[1, 9]);
        assert_eq!(look(&mut blame, 1, 10, &[1]).unwrap().candidates, [ip(9), ip(1)]);
    }

    #[test]
    fn two_culprits_are_not_narrowed_to_an_innocent() {
        let mut blame = Blame::default();
        look(&mut blame, 0, 0, &[1]);
        look(&mut blame, 1, 10, &[1]);
        let other = look(&mut blame, 100, 20, &[2]).unwrap();
        assert_eq!((other.candidates, other.certain), (vec![ip(2)], false), "counting begins anew");
    }

    #[test]
    fn a_torrent_that_was_added_anew_counts_from_nothing() {
        let mut blame = Blame::default();
        look(&mut blame, 0, 500, &[1]);
        assert_eq!(look(&mut blame, 1, 0, &[1]), None);
        assert_eq!(look(&mut blame, 2, 70, &[1]).unwrap().wasted_bytes, 70);
    }

    proptest! {
        /// Whatever happens: what is wasted is counted once, candidates are bounded, distinct and were seen sending,
        /// and a lone culprit among others that come and go is never left out.
        #[test]
        fn the_culprit_is_among_the_candidates(
            looks in prop::collection::vec((0u64..100, prop::collection::btree_set(2u8..255, 0..90), any::<bool>()), 1..40)
        ) {
            let (mut blame, mut at, mut corrupt, mut told) = (Blame::default(), 0, 0, 0);
            let mut seen: BTreeSet<IpAddr> = BTreeSet::new();
            look(&mut blame, 0, 0, &[]);
            for (pause, others, spoils) in looks {
                at += pause;
                let mut senders: Vec<u8> = others.iter().copied().take(50).collect();
                if spoils {
                    senders.push(1);
                    corrupt += 10;
                }
                seen.extend(senders.iter().map(|n| ip(*n)));
                let bad = look(&mut blame, at, corrupt, &senders);
                prop_assert_eq!(bad.is_some(), spoils);
                let Some(bad) = bad else { continue };
                told += bad.wasted_bytes;
                prop_assert!(bad.candidates.contains(&ip(1)) , "{:?}", bad);
                prop_assert!(!bad.certain || bad.candidates == [ip(1)]);
                prop_assert!(bad.candidates.len() <= MAX_CANDIDATES);
                prop_assert!(bad.candidates.iter().all(|c| seen.contains(c)));
            }
            prop_assert_eq!(told, corrupt);
        }
    }
}
