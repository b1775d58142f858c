//! The journal's file: read, changed as a whole, and durable before anything is done by it.

use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
use serde::Deserialize;
use service_kit::durable::{self, DurableError};
use uuid::Uuid;

use super::journal::{FORMAT, Journal, OLDEST};
use super::newer;
use crate::model::state::State;

/// Largest journal that is read, in bytes.
const MAX_LEN: u64 = 8 * 1024 * 1024;

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

/// The journal and the file that holds it.
#[derive(Debug)]
pub struct Keeper {
    path: PathBuf,
    journal: Journal,
}

impl Keeper {
    /// Loads the journal at `path`, or begins one.
    ///
    /// A damaged one is put aside under another name: the terminal must go on, and what was lost is only memory; the
    /// boot state is the bootloader's.
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
            // Written back at once, so that the file never has a format other than its content.
            Ok(Some((journal, _))) => journal,
            Ok(None) => Journal::new(epoch, now),
            Err(JournalError::Damaged { path, source }) => {
                let aside = path.with_extension("damaged.json");
                tracing::error!(%source, aside = %aside.display(), "the journal is damaged: a new one is started");
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

/// Reads a journal without taking it over; `None` if the file is missing.
///
/// # Errors
/// It cannot be read, is damaged, or an agent wrote it that is too far from this one.
pub fn load(path: &Path) -> Result<Option<Journal>, JournalError> {
    Ok(read(path, Uuid::nil())?.map(|(journal, _)| journal))
}

/// The same, and the format that was found.
///
/// `fresh` is the numbering of reports if that of a newer journal cannot be gone on with.
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
