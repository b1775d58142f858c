//! How far the audit reaches, in a file outside the database: rewriting every table does not make it agree.
//!
//! The file follows each commit at once; a process killed in between leaves it behind the chain, never before it. A file
//! that contradicts the database (a table that was cut or rewritten, a database put back from a backup) is evidence: it is
//! reported and not overwritten until an operator has moved it away.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use fleet_types::Digest;
use service_kit::database::{DatabaseError, GenericClient};
use service_kit::durable::write_file;
use tokio::sync::Mutex;
use wire::v1::audit::Head;

use crate::db;

/// The file's name in the state folder.
pub const FILE: &str = "audit-anchor.json";

/// The file and what it says.
#[derive(Debug)]
pub struct Anchor {
    path: PathBuf,
    /// What was written last; none while the file contradicts the database.
    written: Mutex<Option<Head>>,
}

/// What the file in the state folder says; none if there is no such file. Blocking.
///
/// # Errors
/// It cannot be read, or is not an anchor.
pub fn read(state_folder: &Path) -> std::io::Result<Option<Head>> {
    match std::fs::read(state_folder.join(FILE)) {
        Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether the chain of the database `c` has what the file says.
async fn agrees<C: GenericClient>(c: &C, anchor: Head) -> Result<bool, DatabaseError> {
    let found: Option<Digest> = match anchor {
        Head::EMPTY => return Ok(true),
        Head { seq, .. } => db::audit::hash_of(c, seq).await?,
    };
    Ok(found == Some(anchor.hash))
}

impl Anchor {
    /// Compares the file with the database and brings it up to date.
    ///
    /// # Errors
    /// The database failed.
    pub async fn open<C: GenericClient>(c: &C, state_folder: &Path) -> Result<Self, DatabaseError> {
        let folder = state_folder.to_owned();
        let read = tokio::task::spawn_blocking(move || read(&folder)).await;
        // A reader that broke is a file that cannot be read.
        let read = read.unwrap_or_else(|broken| Err(std::io::Error::other(broken)));
        let path = state_folder.join(FILE);
        let found = match read {
            Ok(found) => found.unwrap_or(Head::EMPTY),
            Err(error) => {
                tracing::error!(file = %path.display(), %error, "cannot read the audit's anchor; the file is kept unchanged");
                return Ok(Self { path, written: Mutex::new(None) });
            }
        };
        if !agrees(c, found).await? {
            tracing::error!(
                file = %path.display(), row = found.seq,
                "the audit's anchor names a row that the database does not have: the audit was truncated or rewritten, or the \
                 database was restored from a backup. Run `filial audit verify`; the file is kept until you move it away"
            );
            return Ok(Self { path, written: Mutex::new(None) });
        }
        let this = Self { path, written: Mutex::new(Some(found)) };
        this.advance(db::audit::head(c).await?).await;
        Ok(this)
    }

    /// The chain reaches to `head` now.
    ///
    /// A file that cannot be written is reported; the next row tries again.
    pub async fn advance(&self, head: Head) {
        let mut written = self.written.lock().await;
        if written.is_none_or(|last| last.seq >= head.seq) {
            return;
        }
        let (path, bytes) = (self.path.clone(), serde_json::to_vec(&head).unwrap_or_default());
        match tokio::task::spawn_blocking(move || write_file(&path, &bytes)).await {
            Ok(Ok(())) => *written = Some(head),
            Ok(Err(error)) => {
                tracing::error!(error = %service_kit::edge::chain(&error), "cannot write the audit's anchor; the next row tries again")
            }
            Err(error) => tracing::error!(%error, "cannot write the audit's anchor; the next row tries again"),
        }
    }
}
