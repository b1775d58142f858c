//! Keeps who serves garbage away from a client, without ever keeping away the source that it lives from.
//!
//! transmission-daemon bans every peer that contributed to five bad pieces. That throws a stranger out, and may throw out the
//! honest source as well, which contributes to the same pieces: then an update would stand still. So at five bad pieces
//! every other candidate is refused for a while, and the torrent is added again, which clears strikes and bans; from
//! then on at each bad piece. Refusing an innocent neighbour costs some exchange; the source alone is enough.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use fleet_types::InfoHash;

use super::blame::{Blame, Look};
use crate::measures::{BadData, MAX_CANDIDATES};
use crate::{Peer, TorrentStatus};

/// How long one of several candidates is refused.
const SUSPECT: Duration = Duration::from_secs(900);
/// How long one is refused that it certainly was. Not for ever: addresses are given to other machines.
const CULPRIT: Duration = Duration::from_secs(24 * 3600);
/// Most addresses that are refused at once.
const MAX_BLOCKED: usize = 256;
/// Most torrents that are remembered.
const MAX_TORRENTS: usize = 256;
/// Most reports about one torrent within [`REPORT_SPAN`]. What happens beyond is added to the next one.
const MAX_REPORTS: usize = 6;
const REPORT_SPAN: Duration = Duration::from_secs(3600);
/// Bad pieces after which transmission-daemon bans every peer that contributed to each of them.
const BAN_PIECES: u64 = 5;

#[derive(Debug, Default)]
struct Watched {
    blame: Blame,
    /// Bytes thrown away since the torrent was last added.
    wasted: u64,
    /// It went so far before: no patience any more.
    alert: bool,
    /// The torrent is to be added again.
    renew: bool,
    /// Happened and not reported yet.
    owed: Option<BadData>,
    reported: VecDeque<Duration>,
    looked: Duration,
}

/// What is known of the peers of one client. Losing it costs some pieces and nothing else.
#[derive(Debug, Default)]
pub(super) struct Guard {
    torrents: BTreeMap<InfoHash, Watched>,
    /// Until when each is refused.
    blocked: BTreeMap<IpAddr, Duration>,
    /// What the client was told to refuse; none: it is not known, as after a start.
    applied: Option<BTreeSet<IpAddr>>,
}

/// One torrent, as it was just looked at.
#[derive(Debug, Clone, Copy)]
pub(super) struct Watch<'a> {
    /// Which.
    pub hash: &'a InfoHash,
    /// What the client says of it.
    pub status: &'a TorrentStatus,
    /// Addresses that are never refused: where the torrent comes from. Empty: not known, and no peer is refused.
    pub sources: &'a BTreeSet<IpAddr>,
    /// When, as time since some fixed moment.
    pub at: Duration,
}

/// What a look asks for.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Judgement {
    /// Bad data to be reported.
    pub report: Option<BadData>,
    /// Addresses that the client should refuse from now on, these and no others.
    pub refuse: Option<BTreeSet<IpAddr>>,
    /// Whether the torrent should be removed, its content kept, and added again.
    pub renew: bool,
}

impl Guard {
    /// Judges one look at a torrent that is being fetched. Pure: the client is not asked for anything. What is not noted
    /// as done ([`Guard::refusing`], [`Guard::renewed`]) is asked for again at the next look.
    pub(super) fn judge(&mut self, watch: Watch<'_>, peers: &[Peer]) -> Judgement {
        let look = Look { at: watch.at, corrupt_bytes: watch.status.corrupt_bytes, peers, sources: watch.sources };
        self.look(watch.hash, &look, watch.status.piece_length);
        let report = self.due(watch.hash, watch.at);
        let wanted = self.refused(watch.at);
        // After a start it is not known whom an earlier run refused.
        let refuse = (self.applied.as_ref() != Some(&wanted)).then_some(wanted);
        // A torrent that is added again is verified from the beginning: one after the other would keep it verifying for ever.
        let renew = !watch.status.verifying && self.torrents.get(watch.hash).is_some_and(|w| w.renew);
        Judgement { report, refuse, renew }
    }

    /// Notes that the client refuses exactly these addresses now.
    pub(super) fn refusing(&mut self, addresses: BTreeSet<IpAddr>) {
        self.applied = Some(addresses);
    }

    /// Notes that the torrent was removed from the client, to be added again.
    pub(super) fn renewed(&mut self, hash: &InfoHash) {
        if let Some(watched) = self.torrents.get_mut(hash) {
            (watched.renew, watched.wasted) = (false, 0);
        }
    }

    /// The pure part: what a look changes.
    fn look(&mut self, hash: &InfoHash, look: &Look<'_>, piece_length: u64) {
        self.make_room(hash);
        let watched = self.torrents.entry(*hash).or_default();
        watched.looked = look.at;
        let Some(bad) = watched.blame.look(look) else { return };
        watched.wasted = watched.wasted.saturating_add(bad.wasted_bytes);
        if watched.alert || watched.wasted >= BAN_PIECES * piece_length.max(1) {
            watched.alert = true;
            watched.renew = true;
            let until = look.at + if bad.certain { CULPRIT } else { SUSPECT };
            // Without a known source no peer is refused: it might be the source.
            let others =
                bad.candidates.iter().filter(|a| !look.sources.is_empty() && !look.sources.contains(a) && a.is_ipv4());
            for address in others {
                if self.blocked.len() < MAX_BLOCKED || self.blocked.contains_key(address) {
                    let entry = self.blocked.entry(*address).or_insert(until);
                    *entry = (*entry).max(until);
                }
            }
        }
        watched.owed = Some(match watched.owed.take() {
            None => bad,
            Some(owed) => merge(owed, bad),
        });
    }

    fn make_room(&mut self, hash: &InfoHash) {
        if self.torrents.len() >= MAX_TORRENTS
            && !self.torrents.contains_key(hash)
            && let Some(oldest) = self.torrents.iter().min_by_key(|(_, w)| w.looked).map(|(hash, _)| *hash)
        {
            self.torrents.remove(&oldest);
        }
    }

    /// Who is refused now.
    fn refused(&mut self, at: Duration) -> BTreeSet<IpAddr> {
        self.blocked.retain(|_, until| at < *until);
        self.blocked.keys().copied().collect()
    }

    /// What is owed and may be reported now.
    fn due(&mut self, hash: &InfoHash, at: Duration) -> Option<BadData> {
        let watched = self.torrents.get_mut(hash)?;
        watched.reported.retain(|told| at.saturating_sub(*told) < REPORT_SPAN);
        if watched.owed.is_none() || watched.reported.len() >= MAX_REPORTS {
            return None;
        }
        watched.reported.push_back(at);
        watched.owed.take()
    }
}

/// Two events as one.
fn merge(before: BadData, after: BadData) -> BadData {
    let wasted_bytes = before.wasted_bytes.saturating_add(after.wasted_bytes);
    let (certain, mut candidates) = (after.certain, after.candidates);
    if !certain {
        let further: Vec<IpAddr> = before.candidates.into_iter().filter(|a| !candidates.contains(a)).collect();
        candidates.extend(further);
        candidates.truncate(MAX_CANDIDATES);
    }
    BadData { wasted_bytes, candidates, certain }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PIECE: u64 = 1 << 18;
    const SOURCE: u8 = 1;

    fn ip(last: u8) -> IpAddr {
        [10, 0, 0, last].into()
    }

    fn hash() -> InfoHash {
        InfoHash::new([7; 20])
    }

    fn look(guard: &mut Guard, at: u64, corrupt_bytes: u64, senders: &[u8], sources: &[u8]) {
        let peer = |last: &u8| Peer {
            address: std::net::SocketAddr::from(([10, 0, 0, *last], 51_413)),
            client: String::new(),
            progress: 1.0,
            rate_down: 1,
            rate_up: 0,
        };
        let peers: Vec<Peer> = senders.iter().map(peer).collect();
        let sources = sources.iter().map(|n| ip(*n)).collect();
        let look = Look { at: Duration::from_secs(at), corrupt_bytes, peers: &peers, sources: &sources };
        guard.look(&hash(), &look, PIECE);
    }

    fn refused(guard: &mut Guard, at: u64) -> Vec<IpAddr> {
        guard.refused(Duration::from_secs(at)).into_iter().collect()
    }

    #[test]
    fn five_bad_pieces_refuse_everybody_but_the_source_for_a_while() {
        let mut guard = Guard::default();
        look(&mut guard, 0, 0, &[SOURCE, 8, 9], &[SOURCE]);
        look(&mut guard, 1, 4 * PIECE, &[SOURCE, 8, 9], &[SOURCE]);
        assert!(refused(&mut guard, 1).is_empty(), "the client deals with a few itself");
        look(&mut guard, 2, 5 * PIECE, &[SOURCE, 8], &[SOURCE]);
        assert_eq!(refused(&mut guard, 2), [ip(8), ip(9)]);
        assert!(guard.torrents[&hash()].renew);
        assert!(refused(&mut guard, 2 + SUSPECT.as_secs()).is_empty(), "addresses are given to other machines");
        // Once it came so far, one piece is enough; the torrent counts from nothing.
        look(&mut guard, 3000, 0, &[SOURCE, 7], &[SOURCE]);
        look(&mut guard, 3001, PIECE, &[SOURCE, 7], &[SOURCE]);
        assert_eq!(refused(&mut guard, 3001), [ip(7)]);
    }

    #[test]
    fn a_torrent_that_is_verified_is_renewed_only_afterwards() {
        let (mut guard, hash, sources) = (Guard::default(), hash(), BTreeSet::new());
        let mut renew = |corrupt_bytes, verifying| {
            let status = TorrentStatus { corrupt_bytes, verifying, piece_length: PIECE, ..TorrentStatus::default() };
            guard
                .judge(Watch { hash: &hash, status: &status, sources: &sources, at: Duration::from_secs(1) }, &[])
                .renew
        };
        assert_eq!(
            [renew(0, false), renew(5 * PIECE, true), renew(5 * PIECE, true), renew(5 * PIECE, false)],
            [false, false, false, true]
        );
    }

    #[test]
    fn reports_are_rationed_and_lose_no_bytes() {
        let (mut guard, mut told, mut reports) = (Guard::default(), 0, 0);
        look(&mut guard, 0, 0, &[9], &[]);
        for at in 1..3600 {
            look(&mut guard, at, at * PIECE, &[9], &[]);
            if let Some(bad) = guard.due(&hash(), Duration::from_secs(at)) {
                reports += 1;
                told += bad.wasted_bytes;
            }
        }
        assert_eq!(reports, MAX_REPORTS);
        let last = guard.due(&hash(), Duration::from_secs(3600 + 1)).unwrap();
        assert_eq!(told + last.wasted_bytes, 3599 * PIECE);
        assert!(refused(&mut guard, 3600).is_empty(), "without a known source nobody is refused");
    }

    proptest! {
        /// Whichever peers send bad data: the source is never refused, and everything remembered has a bound.
        #[test]
        fn the_source_is_never_refused(
            looks in prop::collection::vec((0u64..2000, prop::collection::vec(any::<u8>(), 0..80), 0u64..8), 1..40)
        ) {
            let (mut guard, mut at, mut corrupt) = (Guard::default(), 0, 0);
            for (pause, senders, pieces) in looks {
                at += pause;
                corrupt += pieces * PIECE;
                look(&mut guard, at, corrupt, &senders, &[SOURCE]);
                let refused = refused(&mut guard, at);
                prop_assert!(!refused.contains(&ip(SOURCE)));
                prop_assert!(refused.len() <= MAX_BLOCKED);
            }
        }
    }
}
