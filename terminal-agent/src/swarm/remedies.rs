//! Does what the judgement of a torrent asks for, and gives the engine back what it lost.

use fleet_types::{Digest, InfoHash};
use service_kit::edge::chain;
use swarm::BadData;
use swarm::tend::take;

use super::files::ArtifactFiles;
use super::peers::{Judgement, TorrentLook};
use crate::config::agent::Settings;
use crate::ports::Ports;

/// What came of a judgement.
#[derive(Debug, Default)]
pub struct Applied {
    /// The torrent is to be given to the engine again.
    pub add_again: bool,
    /// Nothing moves: its tracker was asked again, if it still is where the torrent says.
    pub is_stalled: bool,
    /// Bad data to be reported.
    pub report: Option<BadData>,
}

/// Does what a judgement asks for. What fails is asked for again at a later look.
pub async fn apply(judgement: Judgement, look: &TorrentLook, ports: &Ports) -> Applied {
    let (artifact, hash) = (&look.artifact.sha256, &look.artifact.info_hash);
    let outcome = take(&*ports.swarm, hash, judgement.measures).await;
    for measure in &outcome.taken {
        if measure.is_routine() {
            tracing::debug!(%artifact, %measure, "looked after the peers");
        } else {
            tracing::warn!(%artifact, %measure, "looked after the peers");
        }
    }
    for (measure, error) in &outcome.failed {
        tracing::warn!(error = chain(error), %artifact, %measure, "not done: tried again at a later look");
    }
    Applied {
        add_again: judgement.add_again || outcome.removed(),
        is_stalled: outcome.stalled(),
        report: outcome.bad_data().cloned(),
    }
}

/// Gives the engine back what it should seed, once after a start: it may have lost its list.
///
/// `held`: the artifacts that it was given, each with its torrent.
pub async fn reseed(ports: &Ports, settings: &Settings, held: impl IntoIterator<Item = (Digest, InfoHash)>) {
    for (artifact, hash) in held {
        let (files, folder) = (ArtifactFiles::of_digest(settings, &artifact), &settings.engine.download_dir);
        let content = folder.join(format!("{artifact}.seg"));
        if !content.exists() || !matches!(ports.swarm.status(&hash).await, Ok(None)) {
            continue;
        }
        let Ok(torrent) = std::fs::read(files.torrent()) else { continue };
        match ports.swarm.add(&torrent, folder).await {
            Ok(_) => tracing::info!(%artifact, "seeding again"),
            Err(error) => tracing::warn!(error = chain(&error), %artifact, "cannot be seeded"),
        }
    }
}
