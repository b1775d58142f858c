//! One announce, by hand (BEP 3, BEP 23): to learn whether the tracker accepts a torrent, and which peers it knows.

use std::error::Error;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use fleet_types::InfoHash;
use reqwest::{Client, Url};

use crate::bencode::{self, Node};

/// The largest reply that is read: 200 peers are 1.2 kB.
const MAX_REPLY_LEN: usize = 64 * 1024;

/// What an announcement says happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// Nothing: a plain announce. Only this one is checked against the access list.
    None,
    /// The first announce of a client that begins.
    Started,
    /// The content just became complete.
    Completed,
    /// We leave: the tracker forgets this address. opentracker accepts it for any hash.
    Stopped,
}

/// The name under which [`announce`] asks; opentracker does not tell peers apart by it.
const CHECKER: &[u8; 20] = b"-FL0001-access-check";

/// Payload bytes of a client's torrent in its life, as its announces say.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Sent.
    pub(crate) up: u64,
    /// Received.
    pub(crate) down: u64,
}

/// One announce.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Announcement {
    /// The torrent.
    pub hash: InfoHash,
    /// What happened.
    pub event: Event,
    /// The port that others are told. The address is the one the tracker sees.
    pub port: u16,
    /// Bytes still missing; 0 for a seed.
    pub left: u64,
    /// How many peers to name in the reply.
    pub want: u16,
}

/// The tracker's reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Announced {
    /// When to announce again.
    pub interval: Duration,
    /// Peers that hold everything.
    pub complete: u64,
    /// Peers that fetch.
    pub incomplete: u64,
    /// Some of them.
    pub peers: Vec<SocketAddrV4>,
}

/// Why an announce failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AnnounceError {
    /// The address is not valid.
    #[error("`{url}` is not a valid tracker address: write it as http://ADDRESS:6969/announce")]
    BadUrl {
        /// As configured.
        url: String,
    },
    /// The tracker does not answer, or not in time.
    #[error("the tracker at {url} cannot be reached: start it (systemctl start opentracker), or correct its address")]
    Unreachable {
        /// Where.
        url: String,
        /// Why.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The tracker's own refusal.
    #[error("the tracker at {url} refuses torrent {hash}: {reason}")]
    Refused {
        /// Where.
        url: String,
        /// Which torrent.
        hash: InfoHash,
        /// Its `failure reason`.
        reason: String,
    },
    /// The answer is not a tracker's.
    #[error("what answers at {url} is not a tracker ({reason}): correct the address")]
    NotATracker {
        /// Where.
        url: String,
        /// What is wrong with the answer.
        reason: String,
    },
}

/// Sends one announce to the tracker at `url` and reads its reply.
///
/// # Errors
/// [`AnnounceError::Refused`] with the tracker's own words if it does not accept the torrent.
pub async fn announce(client: &Client, url: &str, announcement: &Announcement) -> Result<Announced, AnnounceError> {
    announce_as(client, url, announcement, CHECKER, Counts::default()).await
}

/// Sends the announce of the peer `peer_id`, and reads the reply.
///
/// # Errors
/// As [`announce`].
pub(crate) async fn announce_as(
    client: &Client,
    url: &str,
    announcement: &Announcement,
    peer_id: &[u8; 20],
    counts: Counts,
) -> Result<Announced, AnnounceError> {
    let address = request_url(url, announcement, peer_id, counts)?;
    let unreachable = |error: reqwest::Error| AnnounceError::Unreachable { url: url.to_owned(), source: error.into() };
    let mut response = client.get(address).send().await.map_err(unreachable)?;
    let wrong = |reason: String| AnnounceError::NotATracker { url: url.to_owned(), reason };
    if !response.status().is_success() {
        return Err(wrong(format!("HTTP {}", response.status().as_u16())));
    }
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
        if body.len() + chunk.len() > MAX_REPLY_LEN {
            return Err(wrong(format!("a reply over {MAX_REPLY_LEN} bytes")));
        }
        body.extend_from_slice(&chunk);
    }
    match parse_reply(&body) {
        Ok(Reply::Accepted(announced)) => Ok(announced),
        Ok(Reply::Refused(reason)) => {
            Err(AnnounceError::Refused { url: url.to_owned(), hash: announcement.hash, reason })
        }
        Err(reason) => Err(wrong(reason)),
    }
}

fn percent(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("%{byte:02X}")).collect()
}

fn request_url(
    url: &str,
    announcement: &Announcement,
    peer_id: &[u8; 20],
    counts: Counts,
) -> Result<Url, AnnounceError> {
    let bad = || AnnounceError::BadUrl { url: url.to_owned() };
    let mut address = Url::parse(url).map_err(|_| bad())?;
    if address.scheme() != "http" && address.scheme() != "https" {
        return Err(bad());
    }
    let hash = percent(announcement.hash.as_bytes());
    let event = match announcement.event {
        Event::None => "",
        Event::Started => "&event=started",
        Event::Completed => "&event=completed",
        Event::Stopped => "&event=stopped",
    };
    let query = format!(
        "info_hash={hash}&peer_id={}&port={}&uploaded={}&downloaded={}&left={}&numwant={}&compact=1{event}",
        percent(peer_id),
        announcement.port,
        counts.up,
        counts.down,
        announcement.left,
        announcement.want,
    );
    address.set_query(Some(&query));
    Ok(address)
}

#[derive(Debug, PartialEq, Eq)]
enum Reply {
    Accepted(Announced),
    Refused(String),
}

fn parse_reply(body: &[u8]) -> Result<Reply, String> {
    let root = bencode::parse(body).map_err(|error| error.to_string())?;
    if let Some(reason) = root.get("failure reason") {
        let reason = String::from_utf8_lossy(reason.bytes().unwrap_or_default()).chars().take(300).collect();
        return Ok(Reply::Refused(reason));
    }
    let number = |key| root.get(key).and_then(Node::integer).and_then(|n| u64::try_from(n).ok());
    let interval = number("interval").ok_or("a reply without an interval")?;
    let (peers, rest) = root.get("peers").and_then(Node::bytes).unwrap_or_default().as_chunks::<6>();
    if !rest.is_empty() {
        return Err("peers that are not in compact form".to_owned());
    }
    let peer = |[a, b, c, d, high, low]: &[u8; 6]| {
        SocketAddrV4::new(Ipv4Addr::new(*a, *b, *c, *d), u16::from_be_bytes([*high, *low]))
    };
    Ok(Reply::Accepted(Announced {
        interval: Duration::from_secs(interval),
        complete: number("complete").unwrap_or(0),
        incomplete: number("incomplete").unwrap_or(0),
        peers: peers.iter().map(peer).collect(),
    }))
}
