//! What the agent knows besides its journal. Losing all of it costs time and nothing else.

use std::collections::BTreeMap;
use std::time::Duration;

use super::retries::Retries;
use crate::config::agent::Settings;
use crate::model::seen::Refused;
use crate::model::update::Update;
use crate::swarm::files::{ArtifactFiles, Work};
use crate::swarm::peers::PeerWatch;

/// Everything that is in memory only. Times are times since the machine started.
#[derive(Debug, Default)]
pub struct Session {
    /// When the step that failed may be tried again.
    pub retry_at: Option<Duration>,
    /// When the text of what is waited for was last renewed.
    pub waiting_renewed: Option<Duration>,
    /// When a restart was asked for.
    pub restart_asked: Option<Duration>,
    /// When an artifact that could not be removed may be tried again.
    pub drop_at: Option<Duration>,
    /// The update's files, once loaded.
    pub work: Option<Work>,
    /// Whether the torrent was complete when segments were last written.
    pub complete: bool,
    /// Segments that did not check.
    pub refused: BTreeMap<u64, Refused>,
    /// What earlier looks at torrents showed.
    pub peers: PeerWatch,
    /// Folders of unknown packages were removed.
    pub swept: bool,
    /// Which packages failed, and when each may be tried again.
    pub packages: Retries,
}

impl Session {
    /// Loads the update's files from the disk, if they are there and in order.
    pub fn load(&mut self, settings: &Settings, update: &Update) {
        if self.work.as_ref().is_some_and(|w| w.artifact == update.artifact.sha256) {
            return;
        }
        self.refused.clear();
        self.complete = false;
        // The old one first: its journal is locked as long as it lives.
        self.work = None;
        self.work = ArtifactFiles::of(settings, &update.artifact).load(update);
    }
}
