//! Looks at the engine and the disk for a pass. Changes nothing.

use std::collections::{BTreeMap, BTreeSet};

use fleet_types::{Digest, InfoHash};
use service_kit::edge::chain;
use tokio::task::spawn_blocking;
use wire::v1::plan::ArtifactRef;

use super::model::{Disk, InEngine, Known};
use super::parts::Parts;
use crate::db::artifacts::Record;

/// The records of all artifacts.
pub type Records = BTreeMap<Digest, Record>;

/// What a pass sees besides the plan.
#[derive(Debug)]
pub struct View {
    /// Every recorded artifact.
    pub known: Vec<Known>,
    /// Torrents of the engine without a record.
    pub foreign: BTreeSet<InfoHash>,
    /// The store's disk.
    pub disk: Disk,
}

/// Looks at everything that `records` are about.
pub async fn look(parts: &Parts, records: &Records) -> View {
    let torrents = torrents(parts).await;
    let disk = disk(parts, records).await;
    let mut known: Vec<Known> = records.values().map(|r| combine(r, torrents.as_ref(), &disk)).collect();
    for k in known.iter_mut().filter(|k| k.unnamed_since.is_some()) {
        k.in_use = is_in_use(parts, &k.wanted.artifact).await;
    }
    let ours: BTreeSet<InfoHash> = records.values().map(|r| r.wanted.artifact.info_hash).collect();
    let foreign = torrents.unwrap_or_default().difference(&ours).copied().collect();
    View { known, foreign, disk }
}

/// Returns the torrents that the engine has; none if it does not answer.
async fn torrents(parts: &Parts) -> Option<BTreeSet<InfoHash>> {
    let listed = parts.engine.list().await;
    let listed = listed.inspect_err(|error| tracing::debug!(error = %chain(error), "the engine does not answer"));
    listed.ok().map(BTreeSet::from_iter)
}

/// Looks at the store's disk; files of artifacts without a record are strays.
pub async fn disk(parts: &Parts, records: &Records) -> Disk {
    let (store, names) = (parts.store.clone(), BTreeSet::from_iter(records.keys().copied()));
    spawn_blocking(move || store.disk(|artifact| names.contains(artifact))).await.unwrap_or_default()
}

/// Whether its file is being read: by a check, or by a peer that is still fetching.
async fn is_in_use(parts: &Parts, artifact: &ArtifactRef) -> bool {
    let fetching = |peers: Vec<swarm::Peer>| peers.iter().any(|peer| peer.progress < 1.0);
    parts.checks.is_running(&artifact.sha256) || parts.engine.peers(&artifact.info_hash).await.is_ok_and(fetching)
}

/// Combines a record with what engine and disk say of it.
fn combine(record: &Record, torrents: Option<&BTreeSet<InfoHash>>, disk: &Disk) -> Known {
    let artifact = &record.wanted.artifact;
    Known {
        wanted: record.wanted.clone(),
        stage: record.stage,
        have_bytes: record.have_bytes,
        engine: match torrents.map(|t| t.contains(&artifact.info_hash)) {
            None => InEngine::Unknown,
            Some(true) => InEngine::Present,
            Some(false) => InEngine::Absent,
        },
        unnamed_since: record.unnamed_since,
        retry_after: record.retry_after,
        stalled: record.trouble.is_some(),
        in_use: false,
        carried: disk.carried.contains(&artifact.sha256),
    }
}
