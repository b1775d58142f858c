//! Watches who serves artifacts to this server: bad data is reported upward, whoever may have sent it is refused, and
//! the trackers are asked again when nothing comes. And whom this server serves: a terminal that its engine keeps away is let
//! in again.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use fleet_types::Digest;
use service_kit::database::{DatabaseError, connection};
use service_kit::edge::chain;
use swarm::{BadData, EngineError, Guard, Shunned, Stalls, Torrent, TorrentStatus, Watch, addresses_of, host_of};
use tokio::time::Instant;
use wire::v1::reports::{MAX_ADDRESSES, Report};

use crate::app::App;
use crate::db::{self, artifacts};
use crate::relay;

/// What is known of the peers of this server's engine.
pub struct Peers {
    app: Arc<App>,
    guard: Guard,
    stalls: Stalls,
    shunned: Shunned,
    begun: Instant,
}

impl Peers {
    /// Nothing is known.
    pub fn new(app: Arc<App>) -> Self {
        let (guard, stalls, shunned) = (Guard::default(), Stalls::default(), Shunned::default());
        Self { app, guard, stalls, shunned, begun: Instant::now() }
    }

    /// Looks at the peers of an artifact that is being fetched; true if its torrent was removed from the engine, so that
    /// the next pass adds it again.
    ///
    /// # Errors
    /// As every statement. What the engine does not do is tried again at the next look.
    pub async fn watch(&mut self, record: &artifacts::Record, status: &TorrentStatus) -> Result<bool, DatabaseError> {
        let (artifact, at) = (&record.wanted.artifact, self.begun.elapsed());
        let hash = &artifact.info_hash;
        self.wait_for_peers(record, status).await;
        let sources = match status.corrupt_bytes {
            0 => BTreeSet::new(),
            _ => self.sources(&artifact.sha256).await?,
        };
        let watch = Watch { hash, status, sources: &sources, at };
        let Some(outcome) = said(self.guard.watch(&*self.app.engine, watch).await) else { return Ok(false) };
        if let Some(bad) = outcome.report {
            self.report(&artifact.sha256, bad).await?;
        }
        Ok(outcome.removed)
    }

    /// Looks at whom an artifact that is all here is served to. If its engine keeps somebody away, the torrent is removed from
    /// it, and the next pass adds it again.
    pub async fn serve(&mut self, record: &artifacts::Record, status: &TorrentStatus) {
        self.wait_for_peers(record, status).await;
        let (artifact, tracker) = (&record.wanted.artifact, &self.app.settings.tracker.lan_announce_url);
        if !self.shunned.look(&artifact.info_hash, status, tracker, self.begun.elapsed())
            || said(self.app.engine.remove(&artifact.info_hash, false).await).is_none()
        {
            return;
        }
        tracing::warn!(artifact = %artifact.sha256, "a terminal that fetches it is not served: the daemon takes it anew");
        self.app.signals.pass.notify_one();
    }

    /// Announces a torrent again that nobody comes for.
    async fn wait_for_peers(&mut self, record: &artifacts::Record, status: &TorrentStatus) {
        let hash = &record.wanted.artifact.info_hash;
        if self.stalls.look(hash, status, self.begun.elapsed()) {
            said(self.app.engine.announce(hash).await);
        }
    }

    /// Where artifacts come from: head office, by its own address and those of its trackers.
    async fn sources(&self, artifact: &Digest) -> Result<BTreeSet<IpAddr>, DatabaseError> {
        let stored = artifacts::torrent(&connection(&self.app.pool).await?, artifact).await?;
        let torrent = stored.and_then(|(_, torrent)| Torrent::parse(&torrent?).ok());
        let mut urls: Vec<String> = torrent.map(|t| t.tiers().concat()).unwrap_or_default();
        urls.retain(|url| *url != self.app.settings.tracker.lan_announce_url);
        urls.push(self.app.settings.head_office.url.clone());
        let hosts = urls.iter().filter_map(|url| host_of(url)).collect();
        Ok(addresses_of(hosts).await)
    }

    async fn report(&self, artifact: &Digest, bad: BadData) -> Result<(), DatabaseError> {
        let BadData { wasted_bytes, candidates: mut addresses, certain } = bad;
        tracing::warn!(%artifact, wasted_bytes, from = ?addresses, certain, "bad data arrived");
        addresses.truncate(MAX_ADDRESSES);
        let report = Report::BadPeer { terminal: None, artifact: *artifact, addresses, wasted_bytes, certain };
        let mut client = connection(&self.app.pool).await?;
        let tx = db::begin(&mut client).await?;
        relay::queue(&tx, self.app.clock.now(), &report).await?;
        db::commit(tx).await?;
        self.app.signals.relay.notify_one();
        Ok(())
    }
}

fn said<T>(done: Result<T, EngineError>) -> Option<T> {
    done.inspect_err(|error| tracing::debug!(error = %chain(error), "the engine was not looked at")).ok()
}
