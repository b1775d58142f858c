//! Looks after the peers of this server's engine: takes the measures that the engine asks for, and reports bad data.

use fleet_types::Digest;
use service_kit::clock::Stopwatch;
use service_kit::database::DatabaseError;
use service_kit::edge::chain;
use swarm::tend::{self, Duty, Outcome, Subject};
use swarm::{BadData, Torrent, TorrentStatus, host_of};
use wire::v1::reports::{MAX_ADDRESSES, Report};

use super::parts::Parts;
use crate::db::artifacts;

/// What looking after a torrent that is being fetched came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Guarded {
    /// It stays in the engine.
    Stays,
    /// It stays, and gets nowhere: its trackers were asked again, if they still are where it says.
    Stalled,
    /// It was removed from the engine, so that the next pass adds it again.
    Removed,
}

/// Looks after the peers of this server's engine.
pub struct Peers {
    parts: Parts,
    begun: Stopwatch,
}

impl Peers {
    /// Starts the time of its looks.
    pub fn new(parts: Parts) -> Self {
        Self { parts, begun: Stopwatch::start() }
    }

    /// Looks after an artifact that is being fetched.
    ///
    /// # Errors
    /// A statement failed. What the engine does not do is tried again at the next look.
    pub async fn guard(&self, record: &artifacts::Record, status: &TorrentStatus) -> Result<Guarded, DatabaseError> {
        let artifact = &record.wanted.artifact.sha256;
        let sources = match status.corrupt_bytes {
            0 => Vec::new(),
            _ => self.sources(artifact).await?,
        };
        let outcome = self.tend(record, status, Duty::Fetch, sources).await;
        if let Some(bad) = outcome.bad_data() {
            self.report(artifact, bad.clone()).await?;
        }
        Ok(match outcome.removed() {
            true => Guarded::Removed,
            false if outcome.stalled() => Guarded::Stalled,
            false => Guarded::Stays,
        })
    }

    /// Looks after an artifact that is served to terminals.
    pub async fn serve(&self, record: &artifacts::Record, status: &TorrentStatus) {
        let duty = Duty::Serve { tracker: self.parts.settings.tracker.lan_announce_url.clone() };
        if self.tend(record, status, duty, Vec::new()).await.removed() {
            self.parts.signals.pass.notify_one();
        }
    }

    /// Looks, lets the engine judge, and takes the measures that it asks for.
    async fn tend(
        &self,
        record: &artifacts::Record,
        status: &TorrentStatus,
        duty: Duty,
        sources: Vec<String>,
    ) -> Outcome {
        let (engine, artifact) = (&*self.parts.engine, &record.wanted.artifact);
        let (hash, at) = (artifact.info_hash, self.begun.elapsed());
        let observation = engine.observe(Subject { hash, status: status.clone(), duty, sources, at }).await;
        let outcome = tend::take(engine, &hash, engine.judge(&observation)).await;
        for measure in &outcome.taken {
            if measure.is_routine() {
                tracing::debug!(artifact = %artifact.sha256, %measure, "looked after its peers");
            } else {
                tracing::warn!(artifact = %artifact.sha256, %measure, "looked after its peers");
            }
        }
        for (measure, error) in &outcome.failed {
            tracing::warn!(artifact = %artifact.sha256, %measure, error = %chain(error), "not done: tried again at the next look");
        }
        outcome
    }

    /// Returns the hosts that artifacts come from: head office's own and those of its trackers.
    async fn sources(&self, artifact: &Digest) -> Result<Vec<String>, DatabaseError> {
        let stored = artifacts::torrent(&self.parts.client().await?, artifact).await?;
        let torrent = stored.and_then(|(_, torrent)| Torrent::parse(&torrent?).ok());
        let mut urls: Vec<String> = torrent.map(|t| t.tiers().concat()).unwrap_or_default();
        urls.retain(|url| *url != self.parts.settings.tracker.lan_announce_url);
        urls.push(self.parts.settings.head_office.url.clone());
        Ok(urls.iter().filter_map(|url| host_of(url)).collect())
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
