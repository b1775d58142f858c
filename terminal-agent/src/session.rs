//! What the agent knows besides its journal. Losing all of it costs time and nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use artifact::{Applier, Index, PayloadId};
use chrono::{DateTime, Utc};
use fleet_types::{Digest, InfoHash, Slot};
use service_kit::edge::chain;
use sha2::{Digest as _, Sha256};
use swarm::{BadData, Guard, Stalls, Torrent, TorrentStatus};
use trust::plans::VerifiedPlan;
use wire::v1::plan::{ArtifactRef, PayloadRef};
use wire::v1::reports::Reason;

use crate::config::Settings;
use crate::packages::Rests;
use crate::state::Update;

/// How often an engine's reason is heard before it is told to go on all the same.
const LOOKS_BEFORE_START: u32 = 8;

/// A segment whose bytes were here and did not check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused {
    /// When it is worth another look, as time since the machine started.
    pub until: Duration,
    /// The torrent was complete: then only a verification can help.
    pub complete: bool,
}

/// Index, torrent and segment journal of the update in hand.
#[derive(Debug)]
pub struct Work {
    /// Of which artifact.
    pub artifact: Digest,
    /// Its torrent file, with this branch's tracker only.
    pub torrent: Vec<u8>,
    /// Writes segments and remembers them. Away while a blocking task works with it.
    pub applier: Option<Applier>,
}

/// Everything that is in memory only. Times are times since the machine started.
#[derive(Debug, Default)]
pub struct Session {
    /// The plan accepted last.
    pub plan: Option<VerifiedPlan>,
    /// The time that plans are judged by: the clock, or what was verified if that is later.
    pub time: DateTime<Utc>,
    /// Why the plan that the branch server offers is not followed.
    pub plan_refused: Option<Reason>,
    /// The root helper has accepted that plan, too.
    pub helper_knows: bool,
    /// When the step that failed may be tried again.
    pub retry_at: Option<Duration>,
    /// When a restart was asked for.
    pub restart_asked: Option<Duration>,
    /// When an artifact that could not be removed may be tried again.
    pub drop_at: Option<Duration>,
    /// The update's files, once loaded.
    pub work: Option<Work>,
    /// Whether the torrent was complete when it was last looked at.
    pub complete: bool,
    /// Segments that did not check.
    pub refused: BTreeMap<u64, Refused>,
    /// What is known of the peers.
    pub guard: Guard,
    /// How long the torrent has been getting nowhere.
    pub stalls: Stalls,
    /// Torrents that the engine had nothing of, and was made to look for on the disk.
    pub looked_for: BTreeSet<InfoHash>,
    /// What is known of packages.
    pub packages: Rests,
    /// Folders of packages that nobody knows were looked for.
    pub swept: bool,
    /// Looks at a torrent that the engine stopped with a reason.
    pub stopped_looks: u32,
    /// Bad data of this artifact, to be reported.
    pub bad_data: Option<(Digest, BadData)>,
}

impl Session {
    /// Whether a torrent that stands still is given to the engine again: at once if it says nothing, as after it was
    /// killed; else now and then, as for a disk that was full, so that its reason is heard in between.
    pub fn starts_again(&mut self, has_reason: bool) -> bool {
        self.stopped_looks = if has_reason { self.stopped_looks.wrapping_add(1) } else { 0 };
        self.stopped_looks.is_multiple_of(LOOKS_BEFORE_START)
    }

    /// Whether the engine has nothing of an artifact whose file is there, and received nothing of it either. A daemon writes
    /// down what it has every few minutes: a power cut can leave it with the torrent and the whole file, and it would
    /// fetch everything once more. True once, until it has something.
    pub fn forgotten(&mut self, status: &TorrentStatus, artifact: &ArtifactRef, downloads: &Path) -> bool {
        if status.have_bytes > 0 || status.received_bytes > 0 {
            self.looked_for.remove(&artifact.info_hash);
            return false;
        }
        let there = || artifact_files(downloads, artifact).iter().any(|file| file.exists());
        !status.verifying && there() && self.looked_for.insert(artifact.info_hash)
    }

    /// Loads the update's files from the disk, if they are there and in order.
    pub fn load(&mut self, settings: &Settings, update: &Update) {
        if self.work.as_ref().is_some_and(|w| w.artifact == update.artifact.sha256) {
            return;
        }
        self.refused.clear();
        self.complete = false;
        // The old one first: its journal is locked as long as it lives.
        self.work = None;
        self.work = Files::of(settings, &update.artifact).load(update);
    }
}

/// Where an artifact is, under its name, or under the one that the engine gives to unfinished files.
pub fn artifact_files(downloads: &Path, artifact: &ArtifactRef) -> [PathBuf; 2] {
    let whole = downloads.join(artifact.file_name());
    let mut unfinished = whole.clone().into_os_string();
    unfinished.push(".part");
    [whole, unfinished.into()]
}

/// Where the files of an artifact lie.
#[derive(Debug, Clone)]
pub struct Files {
    folder: PathBuf,
}

impl Files {
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

    fn load(&self, update: &Update) -> Option<Work> {
        let index = std::fs::read(self.index()).ok()?;
        let index = check_index(&index, &update.artifact, &update.payload).ok()?;
        let torrent = std::fs::read(self.torrent()).ok()?;
        let parsed = Torrent::parse(&torrent).ok()?;
        if parsed.info_hash() != update.artifact.info_hash {
            return None;
        }
        match Applier::open(Arc::new(index), &self.segments(update.target)) {
            Ok(applier) => Some(Work { artifact: update.artifact.sha256, torrent, applier: Some(applier) }),
            Err(error) => {
                tracing::warn!(error = chain(&error), "the journal of segments cannot be used");
                None
            }
        }
    }
}

/// Reads an index that has to be the one that the plan names.
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
