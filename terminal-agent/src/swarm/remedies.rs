//! Does what the judgement of a torrent asks for, and gives the engine back what it lost.

use fleet_types::{Digest, InfoHash};
use service_kit::edge::chain;
use swarm::BadData;

use super::files::ArtifactFiles;
use super::peers::{Judgement, PeerWatch, Remedy, TorrentLook};
use crate::config::agent::Settings;
use crate::ports::Ports;

/// What came of a judgement.
#[derive(Debug, Default)]
pub struct Applied {
    /// The torrent is to be given to the engine again.
    pub add_again: bool,
    /// Bad data to be reported.
    pub report: Option<BadData>,
}

/// Does what a judgement asks for. What fails is asked for again at the next look.
pub async fn apply(judgement: Judgement, look: &TorrentLook, ports: &Ports, watch: &mut PeerWatch) -> Applied {
    let hash = &look.artifact.info_hash;
    let mut applied = Applied { add_again: judgement.add_again, report: None };
    for remedy in judgement.remedies {
        let done = match &remedy {
            Remedy::Announce => {
                if let Err(error) = ports.swarm.announce(hash).await {
                    tracing::debug!(error = chain(&error), "the tracker could not be asked again");
                }
                Ok(())
            }
            Remedy::Report(bad) => {
                applied.report = Some(bad.clone());
                Ok(())
            }
            Remedy::Refuse(addresses) => ports.swarm.refuse(addresses).await,
            Remedy::Renew => ports.swarm.remove(hash, false).await,
        };
        if let Err(error) = done {
            tracing::warn!(error = chain(&error), %hash, "peers that may serve bad data could not be refused yet");
            break;
        }
        applied.add_again |= remedy == Remedy::Renew;
        watch.applied(hash, remedy);
    }
    applied
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
