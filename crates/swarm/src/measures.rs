//! What an engine sees of a torrent's peers, and the measures that it asks for. Pure values.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use fleet_types::InfoHash;

use crate::status::{Peer, TorrentStatus};

/// Most addresses that are remembered and named. An engine has at most some hundred peers.
pub const MAX_CANDIDATES: usize = 64;

/// A torrent that a program looks after.
#[derive(Debug, Clone)]
pub struct Subject {
    /// Which.
    pub hash: InfoHash,
    /// What the engine just said of it.
    pub status: TorrentStatus,
    /// What it is there for now.
    pub duty: Duty,
    /// The hosts that its content comes from, which are never refused. Empty: not known, and no peer is refused.
    ///
    /// Needed only once bad data arrived.
    pub sources: Vec<String>,
    /// When, as time since some fixed moment.
    pub at: Duration,
}

/// What a torrent is there for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Duty {
    /// It is being fetched.
    Fetch,
    /// It is complete and served.
    Serve {
        /// The announce URL whose count says who should be served from here.
        tracker: String,
    },
}

/// One look at a torrent and its peers.
#[derive(Debug, Clone)]
pub struct Observation {
    /// The torrent.
    pub subject: Subject,
    /// The connected peers; `None`: not looked at, or not known.
    pub peers: Option<Vec<Peer>>,
    /// The addresses of [`Subject::sources`]; empty as long as no bad data arrived.
    pub sources: BTreeSet<IpAddr>,
}

impl Observation {
    /// An observation of nothing but what the program knows.
    pub fn of(subject: Subject) -> Self {
        Self { subject, peers: None, sources: BTreeSet::new() }
    }
}

/// Bad data arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadData {
    /// Bytes thrown away since the last event.
    pub wasted_bytes: u64,
    /// One of these sent it, the likeliest first; at most [`MAX_CANDIDATES`]. Empty: no peer was seen sending.
    pub candidates: Vec<IpAddr>,
    /// The first one it was.
    pub certain: bool,
}

/// One thing to do about a torrent's peers.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Measure {
    /// Ask the trackers for peers again: nothing moves.
    Announce,
    /// Report bad data.
    Report(BadData),
    /// Refuse these addresses and no others.
    Refuse(BTreeSet<IpAddr>),
    /// Remove the torrent and keep its content. The program adds it again.
    Renew(Renewal),
}

/// Why a torrent is removed and added again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Renewal {
    /// So much bad data arrived that the engine may keep away the source as well.
    BadData,
    /// The engine keeps away a peer that fetches, or that it should fetch from.
    PeerKeptAway,
}

impl Measure {
    /// Whether it is part of normal operation, as opposed to what an operator wants to know.
    pub fn is_routine(&self) -> bool {
        match self {
            Self::Announce => true,
            Self::Refuse(addresses) => addresses.is_empty(),
            Self::Report(_) | Self::Renew(_) => false,
        }
    }
}

impl fmt::Display for Measure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Announce => f.write_str("ask the trackers for peers again, since nothing moves"),
            Self::Report(bad) => write!(f, "report {} bytes of bad data", bad.wasted_bytes),
            Self::Refuse(addresses) if addresses.is_empty() => f.write_str("refuse no address"),
            Self::Refuse(addresses) => {
                let addresses: Vec<String> = addresses.iter().map(IpAddr::to_string).collect();
                write!(f, "refuse {} for a while, since bad data came from one of them", addresses.join(", "))
            }
            Self::Renew(Renewal::BadData) => f.write_str("add the torrent again, which clears the engine's own bans"),
            Self::Renew(Renewal::PeerKeptAway) => {
                f.write_str("add the torrent again, since the engine keeps away a peer that is there")
            }
        }
    }
}
