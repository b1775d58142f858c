//! Looks at how a torrent is doing, and changes nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use artifact::{Applier, Segment};
use service_kit::edge::chain;
use swarm::tend::{Duty, Subject};
use swarm::{PieceSet, TorrentStatus};
use wire::v1::plan::ArtifactRef;

use super::files::artifact_files;
use super::peers::TorrentLook;
use crate::config::agent::Settings;
use crate::model::seen::{Known, Refused, Transfer};
use crate::ports::Ports;

/// Looks at a torrent; `None` if the engine does not have it.
pub async fn look(ports: &Ports, settings: &Settings, artifact: &ArtifactRef) -> Known<Option<TorrentLook>> {
    let hash = &artifact.info_hash;
    let status = match ports.swarm.status(hash).await {
        Ok(Some(status)) => status,
        Ok(None) => return Known::Is(None),
        Err(error) => return Known::Unknown(chain(&error)),
    };
    let (sources, at) = (settings.branch.hosts().collect(), ports.clock.uptime());
    let subject = Subject { hash: *hash, status, duty: Duty::Fetch, sources, at };
    let observation = ports.swarm.observe(subject).await;
    let files = artifact_files(&*ports.swarm, &settings.engine.download_dir, artifact);
    let has_file = files.iter().any(|file| file.exists());
    Known::Is(Some(TorrentLook { artifact: artifact.clone(), observation, has_file }))
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
