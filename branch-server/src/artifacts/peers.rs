//! Performs what the peers of this server's engine call for: reports bad data, refuses its senders, asks the trackers
//! again when nothing comes, and lets a terminal in again that the engine keeps away.

use std::collections::BTreeSet;
use std::net::IpAddr;

use fleet_types::Digest;
use service_kit::clock::Stopwatch;
use service_kit::database::DatabaseError;
use service_kit::edge::chain;
use swarm::{BadData, EngineError, Guard, Shunned, Stalls, Torrent, TorrentStatus, Watch, addresses_of, host_of};
use wire::v1::reports::{MAX_ADDRESSES, Report};

use super::parts::Parts;
use crate::db::artifacts;

/// What is known of the peers of this server's engine.
pub struct Peers {
    parts: Parts,
    guard: Guard,
    stalls: Stalls,
    shunned: Shunned,
    begun: Stopwatch,
}

impl Peers {
    /// Starts with nothing known.
    pub fn new(parts: Parts) -> Self {
        let (guard, stalls, shunned) = (Guard::default(), Stalls::default(), Shunned::default());
        Self { parts, guard, stalls, shunned, begun: Stopwatch::start() }
    }

    /// Looks at the senders of an artifact that is being fetched; true if its torrent was removed from the engine, so
    /// that the next pass adds it again.
    ///
    /// # Errors
    /// A statement failed. What the engine does not do is tried again at the next look.
    pub async fn guard(&mut self, record: &artifacts::Record, status: &TorrentStatus) -> Result<bool, DatabaseError> {
        let (artifact, at) = (&record.wanted.artifact, self.begun.elapsed());
        let hash = &artifact.info_hash;
        self.wait_for_peers(record, status).await;
        let sources = match status.corrupt_bytes {
            0 => BTreeSet::new(),
            _ => self.sources(&artifact.sha256).await?,
        };
        let watch = Watch { hash, status, sources: &sources, at };
        let Some(outcome) = logged(self.guard.watch(&*self.parts.engine, watch).await) else { return Ok(false) };
        if let Some(bad) = outcome.report {
            self.report(&artifact.sha256, bad).await?;
        }
        Ok(outcome.removed)
    }

    /// Looks at who is served. If the engine keeps a terminal away, the torrent is removed, and the next pass adds it
    /// again.
    pub async fn serve(&mut self, record: &artifacts::Record, status: &TorrentStatus) {
        self.wait_for_peers(record, status).await;
        let (artifact, tracker) = (&record.wanted.artifact, &self.parts.settings.tracker.lan_announce_url);
        if !self.shunned.look(&artifact.info_hash, status, tracker, self.begun.elapsed())
            || logged(self.parts.engine.remove(&artifact.info_hash, false).await).is_none()
        {
            return;
        }
        tracing::warn!(artifact = %artifact.sha256, "the engine keeps a terminal away: the torrent is added again");
        self.parts.signals.pass.notify_one();
    }

    /// Announces a torrent again that has no active peers.
    async fn wait_for_peers(&mut self, record: &artifacts::Record, status: &TorrentStatus) {
        let hash = &record.wanted.artifact.info_hash;
        if self.stalls.look(hash, status, self.begun.elapsed()) {
            logged(self.parts.engine.announce(hash).await);
        }
    }

    /// Returns the addresses that artifacts come from: head office's own and those of its trackers.
    async fn sources(&self, artifact: &Digest) -> Result<BTreeSet<IpAddr>, DatabaseError> {
        let stored = artifacts::torrent(&self.parts.client().await?, artifact).await?;
        let torrent = stored.and_then(|(_, torrent)| Torrent::parse(&torrent?).ok());
        let mut urls: Vec<String> = torrent.map(|t| t.tiers().concat()).unwrap_or_default();
        urls.retain(|url| *url != self.parts.settings.tracker.lan_announce_url);
        urls.push(self.parts.settings.head_office.url.clone());
        let hosts = urls.iter().filter_map(|url| host_of(url)).collect();
        Ok(addresses_of(hosts).await)
    }

    async fn report(&self, artifact: &Digest, bad: BadData) -> Result<(), DatabaseError> {
        let BadData { wasted_bytes, candidates: mut addresses, certain } = bad;
        tracing::warn!(%artifact, wasted_bytes, from = ?addresses, certain, "bad data arrived");
        addresses.truncate(MAX_ADDRESSES);
        self.parts
            .report(&Report::BadPeer { terminal: None, artifact: *artifact, addresses, wasted_bytes, certain })
            .await
    }
}

/// Returns the engine's answer; an error is logged, and the next look tries again.
fn logged<T>(done: Result<T, EngineError>) -> Option<T> {
    done.inspect_err(|error| tracing::debug!(error = %chain(error), "the engine did not answer")).ok()
}
