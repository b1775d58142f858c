//! How a torrent is doing, and what is done about it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use artifact::{Applier, Segment};
use service_kit::edge::chain;
use swarm::{BadData, EngineError, PieceSet, TorrentStatus, addresses_of};
use wire::v1::plan::ArtifactRef;

use super::files::{ArtifactFiles, artifact_files};
use super::peers::{Judgement, PeerWatch, Remedy, TorrentLook};
use crate::config::agent::Settings;
use crate::memory::journal::Journal;
use crate::memory::session::Refused;
use crate::model::seen::{Known, Transfer};
use crate::ports::Ports;

/// Looks at a torrent; `None` if the engine does not have it.
pub async fn look(ports: &Ports, settings: &Settings, artifact: &ArtifactRef) -> Known<Option<TorrentLook>> {
    let hash = &artifact.info_hash;
    let status = match ports.swarm.status(hash).await {
        Ok(Some(status)) => status,
        Ok(None) => return Known::Is(None),
        Err(error) => return Known::Unknown(chain(&error)),
    };
    let sources = match status.corrupt_bytes {
        0 => BTreeSet::new(),
        _ => addresses_of(settings.branch.hosts().collect()).await,
    };
    let unseen = |error: &EngineError| tracing::debug!(error = chain(error), "the peers could not be listed");
    let peers = ports.swarm.peers(hash).await.inspect_err(unseen).ok();
    let has_file = artifact_files(&settings.engine.download_dir, artifact).iter().any(|file| file.exists());
    let at = ports.clock.uptime();
    Known::Is(Some(TorrentLook { artifact: artifact.clone(), status, peers, sources, has_file, at }))
}

/// What the segments that are still missing can expect of a torrent. Pure.
pub fn transfer(
    status: &TorrentStatus,
    pieces: &PieceSet,
    applier: &Applier,
    refused: &BTreeMap<u64, Refused>,
    uptime: Duration,
) -> Transfer {
    let mut transfer = Transfer { complete: status.complete, trouble: status.trouble.clone(), ..Transfer::default() };
    // What was held is not known to be held while it is being hashed again.
    if !status.verifying {
        let here = |s: &Segment| pieces.has_range(s.frame_offset, u64::from(s.frame_length));
        let worth = |s: &Segment| is_worth_a_try(refused, s.number, status.complete, uptime);
        transfer.ready = applier.missing().filter(|s| here(s) && worth(s)).map(|s| s.number).collect();
        let stuck = |s: &Segment| refused.get(&s.number).is_some_and(|r| r.complete);
        transfer.refused = status.complete && applier.missing().all(stuck);
    }
    transfer
}

/// A segment that did not check is tried again after a while.
///
/// Once the torrent is complete, once more only.
fn is_worth_a_try(refused: &BTreeMap<u64, Refused>, number: u64, complete: bool, uptime: Duration) -> bool {
    refused.get(&number).is_none_or(|r| uptime >= r.until && !(complete && r.complete))
}

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
pub async fn reseed(ports: &Ports, settings: &Settings, journal: &Journal) {
    for (artifact, held) in &journal.artifacts {
        let (files, folder) = (ArtifactFiles::of_digest(settings, artifact), &settings.engine.download_dir);
        let content = folder.join(format!("{artifact}.seg"));
        if held.drop_now || !content.exists() || !matches!(ports.swarm.status(&held.info_hash).await, Ok(None)) {
            continue;
        }
        let Ok(torrent) = std::fs::read(files.torrent()) else { continue };
        match ports.swarm.add(&torrent, folder).await {
            Ok(_) => tracing::info!(%artifact, "seeding again"),
            Err(error) => tracing::warn!(error = chain(&error), %artifact, "cannot be seeded"),
        }
    }
}
