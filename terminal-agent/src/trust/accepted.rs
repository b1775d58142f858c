//! The plan that was accepted last, exactly as head office signed it, and the floors that it raised: one durable file
//! beside the journal, so that a restart without a branch server goes on with it.
//!
//! It is a separate file for its size, and so that an agent that knows nothing of it leaves it alone.

use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use service_kit::durable::{self, DurableError};
use trust::plans::Floors;
use wire::{Envelope, MAX_ENVELOPE};

/// The format written here.
const FORMAT: u32 = 1;

/// Largest file that is read, in bytes: an envelope, and the floors of a few keys.
const MAX_LEN: u64 = MAX_ENVELOPE as u64 + 64 * 1024;

/// Why the accepted plan cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum AcceptedError {
    /// It cannot be read.
    #[error("cannot read the accepted plan {path}: check the owner of the state folder")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// It cannot be written.
    #[error("cannot write the accepted plan")]
    Write(#[source] DurableError),
    /// It is not what was written.
    ///
    /// Not passed over: what it knows of serials protects from replays.
    #[error("the accepted plan {path} is damaged: move it away, and the next plan is taken from the branch server")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// A later agent wrote it.
    #[error("the accepted plan {path} has format {found}, this agent knows {FORMAT}: run the agent that wrote it")]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u32,
    },
}

/// What is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Content {
    format: u32,
    envelope: Option<Envelope>,
    floors: Floors,
}

/// The accepted plan and the file that holds it.
#[derive(Debug)]
pub struct Accepted {
    path: PathBuf,
    content: Content,
}

impl Accepted {
    /// Reads what was accepted; nothing was if there is no file.
    ///
    /// # Errors
    /// It cannot be read, is damaged, or a later agent wrote it.
    pub fn open(path: &Path) -> Result<Self, AcceptedError> {
        let content = load(path)?.unwrap_or(Content { format: FORMAT, envelope: None, floors: Floors::default() });
        Ok(Self { path: path.to_owned(), content })
    }

    /// The plan as head office signed it.
    pub const fn envelope(&self) -> Option<&Envelope> {
        self.content.envelope.as_ref()
    }

    /// The highest serial that was accepted from each plan key.
    pub const fn floors(&self) -> &Floors {
        &self.content.floors
    }

    /// Takes a plan: on the disk first, then here. If that fails, nothing has changed.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn replace(&mut self, envelope: Envelope, floors: Floors) -> Result<(), AcceptedError> {
        let content = Content { format: FORMAT, envelope: Some(envelope), floors };
        let damaged = |source| AcceptedError::Damaged { path: self.path.clone(), source };
        let bytes = serde_json::to_vec(&content).map_err(damaged)?;
        durable::write_file(&self.path, &bytes).map_err(AcceptedError::Write)?;
        self.content = content;
        Ok(())
    }
}

fn load(path: &Path) -> Result<Option<Content>, AcceptedError> {
    let read = |source| AcceptedError::Read { path: path.to_owned(), source };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(read(e)),
    };
    let mut bytes = Vec::new();
    file.take(MAX_LEN).read_to_end(&mut bytes).map_err(read)?;
    let damaged = |source| AcceptedError::Damaged { path: path.to_owned(), source };
    /// Read before all else, so that a later format is called that and not damage.
    #[derive(Deserialize)]
    struct Probe {
        format: u32,
    }
    let Probe { format } = serde_json::from_slice(&bytes).map_err(damaged)?;
    // One format newer is read for what is known of it: an agent must live through its own rollback.
    if !(FORMAT..=FORMAT + 1).contains(&format) {
        return Err(AcceptedError::Newer { path: path.to_owned(), found: format });
    }
    serde_json::from_slice(&bytes).map(Some).map_err(damaged)
}
