//! Looks go in, readable measures come out.

use std::net::IpAddr;
use std::time::Duration;

use super::*;
use crate::measures::{Renewal, Subject};
use crate::{Peer, TorrentStatus};

const PIECE: u64 = 1 << 18;
const LAN: &str = "http://lan/announce";

fn ip(last: u8) -> IpAddr {
    [10, 0, 0, last].into()
}

fn hash() -> InfoHash {
    InfoHash::new([7; 20])
}

/// A look at second `at` at a torrent that is fetched from 10.0.0.1 and 10.0.0.9.
fn fetching(at: u64, corrupt_bytes: u64) -> Observation {
    let peer = |last| Peer {
        address: (ip(last), 51_413).into(),
        client: String::new(),
        progress: 1.0,
        rate_down: 1,
        rate_up: 0,
    };
    let status = TorrentStatus {
        running: true,
        piece_length: PIECE,
        received_bytes: at,
        corrupt_bytes,
        peers: 2,
        ..TorrentStatus::default()
    };
    let (sources, at) = (vec!["10.0.0.1".to_owned()], Duration::from_secs(at));
    let subject = Subject { hash: hash(), status, duty: Duty::Fetch, sources, at };
    Observation { subject, peers: Some([1, 9].map(peer).to_vec()), sources: [ip(1)].into() }
}

fn serving(at: u64) -> Observation {
    let status = TorrentStatus {
        complete: true,
        running: true,
        fetching: [(LAN.to_owned(), 1)].into(),
        ..TorrentStatus::default()
    };
    let duty = Duty::Serve { tracker: LAN.to_owned() };
    Observation::of(Subject { hash: hash(), status, duty, sources: Vec::new(), at: Duration::from_secs(at) })
}

fn verbs(measures: &[Measure]) -> Vec<String> {
    measures.iter().map(ToString::to_string).collect()
}

const REFUSE: &str = "refuse 10.0.0.9 for a while, since bad data came from one of them";
const RENEW: &str = "add the torrent again, which clears the engine's own bans";

#[test]
fn five_bad_pieces_are_reported_their_sender_refused_and_the_torrent_renewed() {
    let mut memory = Memory::default();
    assert_eq!(verbs(&memory.judge(&fetching(0, 0))), ["refuse no address"], "an earlier run may have refused some");
    memory.taken(&hash(), &Measure::Refuse([].into()));
    assert_eq!(verbs(&memory.judge(&fetching(1, PIECE))), [format!("report {PIECE} bytes of bad data")]);
    let measures = memory.judge(&fetching(2, 5 * PIECE));
    assert_eq!(verbs(&measures), [format!("report {} bytes of bad data", 4 * PIECE).as_str(), REFUSE, RENEW]);
    let routine: Vec<bool> = measures.iter().map(Measure::is_routine).collect();
    assert_eq!(routine, [false, false, false]);
}

#[test]
fn measures_that_were_not_taken_are_asked_for_again_and_those_taken_are_not() {
    let mut memory = Memory::default();
    memory.judge(&fetching(0, 0));
    let first = memory.judge(&fetching(1, 5 * PIECE));
    assert_eq!(verbs(&first[1..]), [REFUSE, RENEW]);
    assert_eq!(verbs(&memory.judge(&fetching(2, 5 * PIECE))), [REFUSE, RENEW]);
    memory.taken(&hash(), &first[1]);
    assert_eq!(verbs(&memory.judge(&fetching(3, 5 * PIECE))), [RENEW]);
    memory.taken(&hash(), &first[2]);
    assert!(memory.judge(&fetching(4, 5 * PIECE)).is_empty());
}

#[test]
fn unknown_peers_cause_no_refusal_and_a_torrent_that_stalls_is_announced_all_the_same() {
    let mut memory = Memory::default();
    let stalled = |at| {
        let mut look = fetching(at, 0);
        (look.peers, look.subject.status.peers, look.subject.status.received_bytes) = (None, 0, 0);
        look
    };
    assert!(memory.judge(&stalled(0)).is_empty());
    let measures = memory.judge(&stalled(30));
    assert_eq!(measures, [Measure::Announce]);
    assert!(measures[0].is_routine());
}

#[test]
fn served_torrent_is_renewed_for_a_peer_that_is_kept_away_and_no_peer_is_refused() {
    let mut memory = Memory::default();
    let asked: Vec<(u64, Vec<Measure>)> =
        (0..=60).map(|at| (at, memory.judge(&serving(at)))).filter(|(_, measures)| !measures.is_empty()).collect();
    let renew = Measure::Renew(Renewal::PeerKeptAway);
    assert_eq!(asked, [(30, vec![Measure::Announce]), (60, vec![renew])]);
}

#[test]
fn renewal_for_a_peer_that_is_kept_away_is_asked_for_until_it_was_done() {
    let mut memory = Memory::default();
    let renew = Measure::Renew(Renewal::PeerKeptAway);
    for at in 0..60 {
        assert!(!memory.judge(&serving(at)).contains(&renew), "{at}");
    }
    for at in 60..65 {
        assert!(memory.judge(&serving(at)).contains(&renew), "{at}: the daemon was away the last time");
    }
    memory.taken(&hash(), &renew);
    for at in 65..664 {
        assert!(!memory.judge(&serving(at)).contains(&renew), "{at}: it was just done");
    }
    assert!(memory.judge(&serving(664)).contains(&renew));
}
