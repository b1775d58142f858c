//! The journal: everything that must outlive a power cut, in one file that is replaced as a whole.
//!
//! One file on purpose: a move, what it teaches (a blamed digest, a serial) and the report of it become durable in
//! the same instant or not at all.
//!
//! **Formats.** An agent can be rolled back by itself: what it leaves must be readable for the one that installed it. So
//! an agent writes the format that it found, and moves up to its own only where the slot that runs is the confirmed one
//! (with `confirmed`, or when the next update begins). It reads the format before its own, and the one after it as far
//! as it knows it (`newer`); two formats are further apart than an update may lead.
//!
//! | format | what it has more |
//! | --- | --- |
//! | 1 | |
//! | 2 | what is left of a failed boot, and in which boot an activation was begun |

mod newer;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
use fleet_types::{Digest, InfoHash, Slot, Version};
use serde::{Deserialize, Serialize};
use service_kit::durable::{self, DurableError};
use uuid::Uuid;
use wire::v1::reports::Reason;
use wire::v1::sync::TerminalFacts;

use crate::packages::{Key, Package};
use crate::reports::Reports;
use crate::state::{State, Then, Update, Verdict};

/// The newest format that is written here.
pub const FORMAT: u32 = 2;

/// The oldest that is read, and in which a journal is begun: until a slot is confirmed, an older agent may be back soon.
pub const OLDEST: u32 = 1;

/// Largest journal that is read, in bytes.
const MAX_LEN: u64 = 8 * 1024 * 1024;
/// Most digests remembered as failed, and most setbacks: the oldest are forgotten.
const MAX_REMEMBERED: usize = 64;

/// Why the journal cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// It cannot be read.
    #[error("cannot read the journal {path}: check the owner of the state folder")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// It cannot be written.
    #[error("cannot write the journal")]
    Write(#[source] DurableError),
    /// It is not a journal.
    #[error("the journal {path} is damaged")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// An agent wrote it that is too far from this one.
    #[error(
        "the journal {path} has format {found}, this agent knows {OLDEST} to {FORMAT}, and {next} as far as it can: boot the \
         slot whose agent wrote it, or move the file away (what it knows of failed releases is lost then)",
        next = FORMAT + 1
    )]
    TooFar {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u32,
    },
}

/// A payload that failed here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Blamed {
    /// Its version.
    pub version: Version,
    /// Why.
    pub reason: Reason,
    /// When.
    pub at: DateTime<Utc>,
}

/// A payload whose attempt ended badly without being to blame.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setback {
    /// How often, under one plan.
    pub count: u32,
    /// That plan's serial.
    pub serial: u64,
    /// When, the last time.
    pub at: DateTime<Utc>,
    /// What follows.
    pub then: Then,
    /// Why, the last time.
    pub reason: Reason,
}

/// What earlier updates taught.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// The payload that each slot holds, once it was confirmed there. Forgotten before the slot is written to.
    pub confirmed: BTreeMap<Slot, Digest>,
    /// Payloads that are not tried again by themselves.
    pub blamed: BTreeMap<Digest, Blamed>,
    /// Payloads that are tried again under conditions.
    pub setbacks: BTreeMap<Digest, Setback>,
}

impl Memory {
    /// Remembers a bad end.
    pub fn learn(&mut self, update: &Update, verdict: &Verdict, at: DateTime<Utc>) {
        let (payload, reason) = (update.payload.sha256, verdict.reason.clone());
        if verdict.then == Then::Blame {
            self.setbacks.remove(&payload);
            self.blamed.insert(payload, Blamed { version: update.version.clone(), reason, at });
            forget_oldest(&mut self.blamed, |b| b.at);
            return;
        }
        let before = self.setbacks.get(&payload).filter(|s| s.serial == update.serial).map_or(0, |s| s.count);
        let setback =
            Setback { count: before.saturating_add(1), serial: update.serial, at, then: verdict.then, reason };
        self.setbacks.insert(payload, setback);
        forget_oldest(&mut self.setbacks, |s| s.at);
    }
}

fn forget_oldest<T>(map: &mut BTreeMap<Digest, T>, at: impl Fn(&T) -> DateTime<Utc>) {
    while map.len() > MAX_REMEMBERED
        && let Some(oldest) = map.iter().min_by_key(|(_, entry)| at(entry)).map(|(digest, _)| *digest)
    {
        map.remove(&oldest);
    }
}

/// Failures of the step at hand.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trouble {
    /// How often it failed in a row.
    pub count: u32,
    /// Whether failing often enough ends the update; if not, it waits for better times.
    pub bounded: bool,
    /// Why, and what follows if it ends the update.
    pub verdict: Verdict,
}

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
    /// The time of the last write outside a trial: a trial in which the clock shows less has no sane clock.
    pub newest: DateTime<Utc>,
    /// Reports to be delivered.
    pub reports: Reports,
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
        }
    }

    /// Takes out what its format does not have.
    fn fit_format(&mut self) {
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

/// The journal and the file that holds it.
#[derive(Debug)]
pub struct Keeper {
    path: PathBuf,
    journal: Journal,
}

impl Keeper {
    /// Loads the journal at `path`, or begins one. A damaged one is put aside under another name: the terminal must
    /// go on, and what was lost is only memory; the boot state is the bootloader's.
    ///
    /// # Errors
    /// It cannot be read, a later agent wrote it, or a new one cannot be written.
    pub fn open(path: &Path, epoch: Uuid, now: DateTime<Utc>) -> Result<Self, JournalError> {
        if let Some(folder) = path.parent() {
            durable::sweep(folder);
        }
        let journal = match read(path, epoch) {
            Ok(Some((journal, found))) if journal.format == found => {
                return Ok(Self { path: path.to_owned(), journal });
            }
            // Written back at once, so that nobody has to guess which of both formats holds.
            Ok(Some((journal, _))) => journal,
            Ok(None) => Journal::new(epoch, now),
            Err(JournalError::Damaged { path, source }) => {
                let aside = path.with_extension("damaged.json");
                tracing::error!(%source, aside = %aside.display(), "the journal is damaged and is begun anew");
                durable::rename(&path, &aside).map_err(JournalError::Write)?;
                Journal::new(epoch, now)
            }
            Err(error) => return Err(error),
        };
        save(path, &journal)?;
        Ok(Self { path: path.to_owned(), journal })
    }

    /// The journal as it lies on the disk.
    pub fn journal(&self) -> &Journal {
        &self.journal
    }

    /// Changes the journal: on the disk first, then here. If that fails, nothing has changed.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn change(&mut self, now: DateTime<Utc>, edit: impl FnOnce(&mut Journal)) -> Result<(), JournalError> {
        let mut changed = self.journal.clone();
        edit(&mut changed);
        changed.fit_format();
        if !matches!(changed.state, State::Activating { .. } | State::Trying { .. }) {
            changed.newest = now;
        }
        save(&self.path, &changed)?;
        self.journal = changed;
        Ok(())
    }
}

/// Reads a journal without taking it over; `None` if there is none.
///
/// # Errors
/// It cannot be read, is damaged, or an agent wrote it that is too far from this one.
pub fn load(path: &Path) -> Result<Option<Journal>, JournalError> {
    Ok(read(path, Uuid::nil())?.map(|(journal, _)| journal))
}

/// The same, and the format that was found; `fresh` is the numbering of reports if that of a newer journal cannot be gone on with.
fn read(path: &Path, fresh: Uuid) -> Result<Option<(Journal, u32)>, JournalError> {
    let read = |source| JournalError::Read { path: path.to_owned(), source };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(read(e)),
    };
    let mut bytes = Vec::new();
    file.take(MAX_LEN).read_to_end(&mut bytes).map_err(read)?;
    let damaged = |source| JournalError::Damaged { path: path.to_owned(), source };
    /// Read before all else, so that another format is called that and not damage.
    #[derive(Deserialize)]
    struct Probe {
        format: u32,
    }
    let Probe { format } = serde_json::from_slice(&bytes).map_err(damaged)?;
    let journal = match format {
        OLDEST..=FORMAT => serde_json::from_slice(&bytes),
        newer if newer == FORMAT + 1 => {
            tracing::warn!(path = %path.display(), newer, "the journal of a newer agent: what is known of it counts");
            newer::read(&bytes, fresh)
        }
        found => return Err(JournalError::TooFar { path: path.to_owned(), found }),
    };
    journal.map(|journal| Some((journal, format))).map_err(damaged)
}

fn save(path: &Path, journal: &Journal) -> Result<(), JournalError> {
    let bytes =
        serde_json::to_vec_pretty(journal).map_err(|source| JournalError::Damaged { path: path.to_owned(), source })?;
    durable::write_file(path, &bytes).map_err(JournalError::Write)
}
