//! Gives an artifact to the BitTorrent daemon.

use service_kit::database::{JobError, connection};
use service_kit::edge::chain;
use swarm::{EngineError, Torrent, torrent};
use wire::v1::plan::ArtifactRef;

use crate::app::App;
use crate::db;

/// Gives the daemon an artifact's torrent with the WAN's tracker. False if the artifact is on its way out. The caller holds
/// the artifact.
pub async fn add_seed(app: &App, artifact: &ArtifactRef) -> Result<bool, JobError> {
    let file = {
        let client = connection(&app.pool).await?;
        db::artifacts::torrent_to_seed(&client, &artifact.sha256).await?
    };
    let Some(file) = file else { return Ok(false) };
    let torrent = Torrent::parse(&file).map_err(|e| JobError::GiveUp(chain(&e)))?;
    let file = torrent.to_file(&torrent::wan_tiers(&app.settings.tracker.announce_url));
    app.engine.add(&file, &app.store.artifacts()).await.map_err(refused)?;
    Ok(true)
}

/// A refusal of the daemon, as a reason to try the job again.
pub fn refused(error: EngineError) -> JobError {
    JobError::Retry(format!("{}.", chain(&error)))
}
