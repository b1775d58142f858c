//! The files of an artifact: index, torrent, segment journals, and what the engine downloads.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use artifact::{Applier, Index, PayloadId};
use fleet_types::{Digest, Slot};
use service_kit::edge::chain;
use sha2::{Digest as _, Sha256};
use swarm::Torrent;
use wire::v1::plan::{ArtifactRef, PayloadRef};

use crate::config::agent::Settings;
use crate::model::update::Update;
use crate::ports::Swarm;

/// Index, torrent and segment journal of the update in hand.
#[derive(Debug)]
pub struct Work {
    /// Of which artifact.
    pub artifact: Digest,
    /// Writes segments and remembers them. Away while a blocking task works with it.
    pub applier: Option<Applier>,
}

/// Returns every file of the engine's folder in which an artifact may lie, the complete one first.
pub fn artifact_files(swarm: &dyn Swarm, downloads: &Path, artifact: &ArtifactRef) -> Vec<PathBuf> {
    swarm.content_names().files(downloads, &artifact.file_name())
}

/// Where the files of an artifact lie.
#[derive(Debug, Clone)]
pub struct ArtifactFiles {
    folder: PathBuf,
}

impl ArtifactFiles {
    /// The files of this artifact.
    pub fn of(settings: &Settings, artifact: &ArtifactRef) -> Self {
        Self::of_digest(settings, &artifact.sha256)
    }

    /// The files of the artifact with this digest.
    pub fn of_digest(settings: &Settings, artifact: &Digest) -> Self {
        Self { folder: Self::root(settings).join(artifact.to_string()) }
    }

    /// The folder with one folder for each artifact.
    pub fn root(settings: &Settings) -> PathBuf {
        settings.paths.data_dir.join("updates")
    }

    /// Their folder.
    pub fn folder(&self) -> &PathBuf {
        &self.folder
    }

    /// The index as head office made it.
    pub fn index(&self) -> PathBuf {
        self.folder.join("index")
    }

    /// The torrent as the engine gets it.
    pub fn torrent(&self) -> PathBuf {
        self.folder.join("torrent")
    }

    /// The journal of segments written to a slot.
    pub fn segments(&self, slot: Slot) -> PathBuf {
        self.folder.join(format!("segments-{slot}"))
    }

    /// The files of an update, if they are here and in order.
    pub fn load(&self, update: &Update) -> Option<Work> {
        let index = std::fs::read(self.index()).ok()?;
        let index = check_index(&index, &update.artifact, &update.payload).ok()?;
        let torrent = std::fs::read(self.torrent()).ok()?;
        let parsed = Torrent::parse(&torrent).ok()?;
        if parsed.info_hash() != update.artifact.info_hash {
            return None;
        }
        match Applier::open(Arc::new(index), &self.segments(update.target)) {
            Ok(applier) => Some(Work { artifact: update.artifact.sha256, applier: Some(applier) }),
            Err(error) => {
                tracing::warn!(error = chain(&error), "the journal of segments cannot be used");
                None
            }
        }
    }
}

/// Reads an index, which must be the index that the plan names.
///
/// # Errors
/// It is another one, or does not fit the artifact; one sentence.
pub fn check_index(bytes: &[u8], artifact: &ArtifactRef, payload: &PayloadRef) -> Result<Index, String> {
    let found = Digest::new(Sha256::digest(bytes).into());
    if found != artifact.index_sha256 {
        return Err(format!("the index has digest {found}, the plan names {}", artifact.index_sha256));
    }
    let id = PayloadId { sha256: payload.sha256, length: payload.length };
    let index = Index::parse(bytes, id).map_err(|e| chain(&e))?;
    if index.artifact_len() != artifact.length {
        let (says, plan) = (index.artifact_len(), artifact.length);
        return Err(format!("the index describes an artifact of {says} bytes, the plan one of {plan}"));
    }
    Ok(index)
}
