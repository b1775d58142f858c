//! Making an artifact of a payload. Blocking steps, each safe to run twice; [`super::publish`] puts them in order.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use artifact::{EncodeError, EncodeOptions, EncodeProgress, Encoded, FileRange, PayloadId};
use fleet_types::Digest;
use service_kit::durable::{self, DurableError};
use swarm::{Torrent, TorrentError, torrent};
use wire::v1::plan::ArtifactRef;

use crate::db::payloads::PayloadRow;
use crate::store::folders::Store;

/// Why a payload did not become an artifact.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// The archive cannot be opened.
    #[error("the archive {} cannot be opened", .path.display())]
    Archive {
        /// Which.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The encoder stopped.
    #[error("encoding failed")]
    Encode(#[from] EncodeError),
    /// The torrent could not be made.
    #[error("the torrent could not be made")]
    Torrent(#[from] TorrentError),
    /// The file changed between encoding and hashing.
    #[error("the artifact file has the digest {found}, the encoder wrote {expected}: is the store's disk sound?")]
    Changed {
        /// What the encoder wrote.
        expected: Digest,
        /// What was read.
        found: Digest,
    },
    /// The artifact could not be put into the store.
    #[error("the artifact could not be put into the store as {}", .path.display())]
    Link {
        /// Its place.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A rename or folder could not be made durable.
    #[error(transparent)]
    Durable(#[from] DurableError),
}

impl PublishError {
    /// Whether the encoder was told to stop.
    pub fn is_cancelled(&self) -> bool {
        matches!(self, Self::Encode(EncodeError::Cancelled))
    }

    /// Whether trying again cannot help: the archive is no longer what was judged.
    pub fn is_final(&self) -> bool {
        match self {
            Self::Encode(EncodeError::SourceDigest { .. } | EncodeError::SourceLength { .. }) => true,
            Self::Archive { source, .. } => source.kind() == io::ErrorKind::NotFound,
            _ => false,
        }
    }
}

/// An artifact whose file is complete but not yet in its place.
#[derive(Debug, Clone)]
pub struct Hashed {
    /// The artifact.
    pub artifact: ArtifactRef,
    /// Its torrent, without trackers.
    pub torrent: Torrent,
}

/// Encodes a payload straight out of the archive.
///
/// Continues what an earlier attempt began, also after kill -9. Blocking.
///
/// # Errors
/// As [`PublishError`].
pub fn encode(
    store: &Store,
    row: &PayloadRow,
    options: &EncodeOptions,
    progress: &(dyn Fn(EncodeProgress) + Sync),
    cancelled: &(dyn Fn() -> bool + Sync),
) -> Result<Encoded, PublishError> {
    let path = store.upload(row.release);
    let file = File::open(&path).map_err(|source| PublishError::Archive { path, source })?;
    let source = FileRange::new(file, row.archive_offset, row.payload.length);
    let payload = PayloadId { sha256: row.payload.sha256, length: row.payload.length };
    let (work, out) = (store.work(&payload.sha256), store.encoded(&payload.sha256));
    Ok(artifact::encode(&source, payload, &work, &out, options, progress, cancelled)?)
}

/// Reads the encoded file once, for its digest and its torrent. Blocking.
///
/// # Errors
/// As [`PublishError`].
pub fn hash(
    store: &Store,
    payload: &Digest,
    encoded: &Encoded,
    progress: &mut dyn FnMut(u64),
) -> Result<Hashed, PublishError> {
    let name = format!("{}.seg", encoded.sha256);
    let created = torrent::create(&store.encoded(payload), &name, None, progress)?;
    if created.sha256 != encoded.sha256 {
        return Err(PublishError::Changed { expected: encoded.sha256, found: created.sha256 });
    }
    let artifact = ArtifactRef {
        sha256: encoded.sha256,
        length: encoded.length,
        index_sha256: encoded.index_sha256,
        index_length: encoded.index_length,
        info_hash: created.torrent.info_hash(),
    };
    Ok(Hashed { artifact, torrent: created.torrent })
}

/// Links the encoded file to its place in the store. Blocking.
///
/// The work file stays for [`clean_up`]: a kill before the database is written finds it and need not encode again.
///
/// # Errors
/// As [`PublishError`].
pub fn place(store: &Store, payload: &Digest, artifact: &ArtifactRef) -> Result<(), PublishError> {
    let (from, to) = (store.encoded(payload), store.artifact(artifact));
    // By a temporary name: a file of that name that was cut short by a crash long ago is replaced.
    let temporary = to.with_extension("seg.tmp");
    let failed = |source| PublishError::Link { path: to.clone(), source };
    match std::fs::remove_file(&temporary) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(failed(e)),
        _ => {}
    }
    std::fs::hard_link(&from, &temporary).map_err(failed)?;
    // A rename onto another link of the same file does nothing and succeeds.
    durable::rename(&temporary, &to)?;
    remove(&temporary);
    Ok(())
}

/// Removes a payload's work, once the database names its artifact. Best effort. Blocking.
pub fn clean_up(store: &Store, payload: &Digest) {
    remove(&store.encoded(payload));
    let work = store.work(payload);
    if let Err(error) = std::fs::remove_dir_all(&work)
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::warn!(folder = %work.display(), %error, "work is left over");
    }
}

fn remove(path: &Path) {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!(file = %path.display(), %error, "a file is left over");
        }
        _ => {}
    }
}
