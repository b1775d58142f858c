//! Artifacts in the BitTorrent daemon.

use std::sync::Arc;

use fleet_types::Digest;
use service_kit::database::{DatabaseError, GenericClient, Pool, connection};
use swarm::{Engine, EngineError, Torrent, TorrentError, torrent};
use wire::v1::plan::ArtifactRef;

use super::tracker::TrackerError;
use crate::db;
use crate::store::folders::Store;

/// Why daemon or tracker are not in step with the database. It is tried again.
#[derive(Debug, thiserror::Error)]
pub enum SeedError {
    /// The database failed.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// The daemon failed.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The tracker failed.
    #[error(transparent)]
    Tracker(#[from] TrackerError),
    /// The stored torrent is invalid.
    #[error("the stored torrent of artifact {0} is invalid")]
    Torrent(Digest, #[source] TorrentError),
}

/// Gives artifacts to the BitTorrent daemon.
#[derive(Clone)]
pub struct Seeder {
    /// The daemon.
    pub engine: Arc<dyn Engine>,
    /// The database.
    pub pool: Pool,
    /// The folders.
    pub store: Store,
    /// Where the torrents announce.
    pub announce_url: String,
}

impl Seeder {
    /// Adds an artifact's torrent, with the WAN's tracker, to the daemon.
    ///
    /// False if the artifact is on its way out. The caller holds the artifact.
    ///
    /// # Errors
    /// As [`SeedError`].
    pub async fn add(&self, artifact: &ArtifactRef) -> Result<bool, SeedError> {
        let Some(file) = self.torrent(artifact).await? else { return Ok(false) };
        self.engine.add(&file, &self.store.artifacts()).await?;
        Ok(true)
    }

    /// Serves an artifact again to branches that lost their copy.
    ///
    /// False if the artifact is on its way out. The caller holds the artifact.
    ///
    /// # Errors
    /// As [`SeedError`]. Safe to repeat: a torrent that was only removed is added.
    pub async fn renew(&self, artifact: &ArtifactRef) -> Result<bool, SeedError> {
        let Some(file) = self.torrent(artifact).await? else { return Ok(false) };
        self.engine.peer_lost_content(&file, &self.store.artifacts()).await?;
        Ok(true)
    }

    /// Returns an artifact's torrent with the WAN's tracker, if there is one.
    ///
    /// # Errors
    /// As [`SeedError`].
    pub async fn wan_torrent<C: GenericClient>(&self, c: &C, artifact: &Digest) -> Result<Option<Vec<u8>>, SeedError> {
        let Some(file) = db::artifacts::torrent(c, artifact).await? else { return Ok(None) };
        self.announced(artifact, &file).map(Some)
    }

    fn announced(&self, artifact: &Digest, file: &[u8]) -> Result<Vec<u8>, SeedError> {
        let parsed = Torrent::parse(file).map_err(|e| SeedError::Torrent(*artifact, e))?;
        Ok(parsed.to_file(&torrent::wan_tiers(&self.announce_url)))
    }

    async fn torrent(&self, artifact: &ArtifactRef) -> Result<Option<Vec<u8>>, SeedError> {
        let client = connection(&self.pool).await?;
        let Some(file) = db::artifacts::torrent_to_seed(&client, &artifact.sha256).await? else { return Ok(None) };
        self.announced(&artifact.sha256, &file).map(Some)
    }
}
