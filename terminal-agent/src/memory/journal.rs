//! The journal: everything that must outlive a power cut, in one file that is replaced as a whole.
//!
//! One file on purpose: a move, what it teaches (a blamed digest, a serial) and the report of it become durable in
//! the same instant or not at all.
//!
//! **Formats.** An agent can be rolled back by itself: what it leaves must be readable for the version that installed it. So
//! an agent writes the format that it found, and moves up to its own only where the slot that runs is the confirmed one
//! (with `confirmed`, or when the next update begins). It reads the format before its own, and the one after it as far
//! as it knows it (`newer`); two formats are further apart than an update may lead.
//!
//! | format | what it has more |
//! | --- | --- |
//! | 1 | |
//! | 2 | what is left of a failed boot, and in which boot an activation was begun |
//!
//! `position` is in every format: agents before it pass it over.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use fleet_types::{Digest, InfoHash, Slot, Version};
use serde::{Deserialize, Serialize};
use uuid::Uuid;
use wire::v1::reports::{Reason, Report};
use wire::v1::sync::TerminalFacts;

use crate::memory::queue::Reports;
use crate::model::memory::{Memory, Trouble};
use crate::model::package::{Key, Package};
use crate::model::state::State;

/// The newest format that is written here.
pub const FORMAT: u32 = 2;

/// The oldest that is read, and in which a journal is begun.
///
/// Until a slot is confirmed, an older agent may be back soon.
pub const OLDEST: u32 = 1;

/// An artifact that the engine was given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// Its torrent.
    pub info_hash: InfoHash,
    /// Since when no plan names it.
    pub unwanted_since: Option<DateTime<Utc>>,
    /// To be removed at once, whatever the retention.
    pub drop_now: bool,
}

/// What was last announced as running.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Announced {
    /// In which boot.
    pub boot_id: String,
    /// The slot.
    pub slot: Slot,
    /// The version.
    pub version: Version,
}

/// The journal's content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Journal {
    /// [`OLDEST`] to [`FORMAT`].
    pub format: u32,
    /// Where the update stands.
    pub state: State,
    /// Since when.
    pub since: DateTime<Utc>,
    /// Failures of the step at hand.
    pub trouble: Option<Trouble>,
    /// What is waited for.
    pub waiting: Option<Reason>,
    /// What earlier updates taught.
    pub memory: Memory,
    /// The serial of the plan that is followed. What a replay is told by lies beside the plan.
    pub floor: u64,
    /// What was last announced as running.
    pub announced: Option<Announced>,
    /// What the branch was last told of this terminal.
    #[serde(default)]
    pub facts: Option<TerminalFacts>,
    /// Why the offered plan is refused, as was last reported.
    #[serde(default)]
    pub refuses: Option<Reason>,
    /// The artifacts that the engine was given.
    pub artifacts: BTreeMap<Digest, Held>,
    /// The packages that plans named, until they are removed.
    #[serde(default)]
    pub packages: BTreeMap<Key, Package>,
    /// The time of the last write outside a trial.
    ///
    /// A trial in which the clock shows less has no sane clock.
    pub newest: DateTime<Utc>,
    /// Reports to be delivered.
    pub reports: Reports,
    /// The number of the newest signed state's position.
    #[serde(default)]
    pub position: u64,
}

impl Journal {
    /// The journal of a terminal that has done nothing yet.
    pub fn new(epoch: Uuid, now: DateTime<Utc>) -> Self {
        Self {
            format: OLDEST,
            state: State::Idle,
            since: now,
            trouble: None,
            waiting: None,
            memory: Memory::default(),
            floor: 0,
            announced: None,
            facts: None,
            refuses: None,
            artifacts: BTreeMap::new(),
            packages: BTreeMap::new(),
            newest: now,
            reports: Reports::new(epoch),
            position: 0,
        }
    }

    /// Queues a report.
    pub fn tell(&mut self, now: DateTime<Utc>, report: Report) {
        if let Report::Update { update, .. } = &report
            && let Some(position) = &update.position
        {
            self.position = position.number;
        }
        self.reports.push(now, report);
    }

    /// The artifacts that the engine is to seed, each with its torrent.
    pub fn seeded(&self) -> impl Iterator<Item = (Digest, InfoHash)> {
        self.artifacts.iter().filter(|(_, held)| !held.drop_now).map(|(artifact, held)| (*artifact, held.info_hash))
    }

    /// Takes out what its format does not have.
    pub fn fit_format(&mut self) {
        if self.format >= 2 {
            return;
        }
        match &mut self.state {
            State::Trying { boot, .. } => boot.begun_in = None,
            State::RolledBack { evidence, .. } => *evidence = None,
            _ => {}
        }
    }
}
