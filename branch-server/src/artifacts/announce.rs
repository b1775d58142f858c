//! Announces arriving artifacts once the link is back.

use service_kit::database::{Pool, connection};
use service_kit::edge::chain;
use swarm::Engine;

use super::model::Stage;
use crate::db::artifacts;

/// Announces every arriving artifact to its trackers now, without waiting for their interval.
pub async fn announce_arriving(pool: &Pool, engine: &dyn Engine) {
    let records = match connection(pool).await {
        Ok(client) => artifacts::all(&client).await,
        Err(error) => Err(error),
    };
    let arriving = records.unwrap_or_default().into_iter().filter(|r| r.stage == Stage::Listed);
    for record in arriving.filter(|r| r.unnamed_since.is_none()) {
        let artifact = &record.wanted.artifact;
        if let Err(error) = engine.announce(&artifact.info_hash).await {
            tracing::debug!(artifact = %artifact.sha256.short(), error = %chain(&error), "not announced");
        }
    }
}
