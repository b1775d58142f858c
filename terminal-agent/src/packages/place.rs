//! Where a package lies: `packages/PRODUCT/VERSION/NAME` on the data partition, and beside it `NAME.complete`, the
//! record of what was unpacked there. A folder without its record is removed and unpacked again.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions, Permissions, TryLockError};
use std::io::{self, BufWriter, ErrorKind, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use artifact::{Index, SegmentError};
use fleet_types::Digest;
use release::{Flaw, MemberPath, TreeError, TreeSink, read_tree};
use serde::{Deserialize, Serialize};
use service_kit::durable::{self, DurableError};
use sha2::{Digest as _, Sha256};

use crate::model::package::Package;

/// Longest record that is read, in bytes.
const MAX_RECORD: u64 = 64 * 1024;
/// How much of a file is read at once, in bytes.
const CHUNK: usize = 256 * 1024;

/// Why a package did not get into its place, or does not check there.
#[derive(Debug, thiserror::Error)]
pub enum PlaceError {
    /// A segment of the artifact is not what its index says.
    #[error("the artifact is invalid")]
    Segment(#[source] SegmentError),
    /// The tar in it cannot be unpacked here.
    #[error("the package is invalid: {0}")]
    Tree(Flaw),
    /// All segments checked, and the whole has another digest.
    #[error("the package has the digest {found}, the plan names {planned}")]
    Digest {
        /// What came out.
        found: Digest,
        /// What the plan says.
        planned: Digest,
    },
    /// The artifact cannot be read.
    #[error("the artifact cannot be read: make engine.download_dir readable for the agent's user")]
    Artifact(#[source] io::Error),
    /// The disk is full.
    #[error("the data partition has too little space for the package: free some space")]
    Full(#[source] io::Error),
    /// It cannot be written or removed.
    #[error("the folder of packages cannot be written")]
    Write(#[source] io::Error),
    /// Something could not be made durable.
    #[error(transparent)]
    Durable(#[from] DurableError),
    /// A command runs in it.
    #[error("a `terminal-agent run` command is using it")]
    Held,
}

impl PlaceError {
    fn write(error: io::Error) -> Self {
        match error.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Self::Full(error),
            _ => Self::Write(error),
        }
    }
}

/// What was unpacked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// 1.
    pub format: u32,
    /// SHA-256 of the payload.
    pub payload: Digest,
    /// How many files it has.
    pub files: u64,
    /// SHA-256 over the paths, modes and digests of all files.
    ///
    /// [`Place::recheck`] computes it again.
    pub tree: Digest,
}

/// The folders of one package.
#[derive(Debug, Clone)]
pub struct Place {
    folder: PathBuf,
    name: String,
}

impl Place {
    /// Of this package, under the data folder.
    pub fn of(data_dir: &Path, package: &Package) -> Self {
        let folder = Self::root(data_dir).join(package.product.as_str()).join(package.version.to_string());
        Self { folder, name: package.payload.name.clone() }
    }

    /// Where all packages lie.
    pub fn root(data_dir: &Path) -> PathBuf {
        data_dir.join("packages")
    }

    /// Where it lies unpacked.
    pub fn tree(&self) -> PathBuf {
        self.folder.join(&self.name)
    }

    fn partial(&self) -> PathBuf {
        // No payload has a dot in its name.
        self.folder.join(format!("{}.partial", self.name))
    }

    fn record_path(&self) -> PathBuf {
        self.folder.join(format!("{}.complete", self.name))
    }

    /// The record of what lies here; none if it is not whole.
    pub fn record(&self) -> Option<Record> {
        let mut bytes = Vec::new();
        File::open(self.record_path()).ok()?.take(MAX_RECORD).read_to_end(&mut bytes).ok()?;
        let record: Record = serde_json::from_slice(&bytes).ok()?;
        (record.format == 1 && self.tree().is_dir()).then_some(record)
    }

    /// Whether exactly this payload lies here, whole.
    pub fn holds(&self, payload: &Digest) -> bool {
        self.record().is_some_and(|r| r.payload == *payload)
    }

    /// Unpacks an artifact.
    ///
    /// Whatever lay here before is gone first; a cut at any point leaves a package that is whole and recorded, or none.
    /// Blocking.
    ///
    /// # Errors
    /// As [`PlaceError`]; nothing that could be taken for a package is left.
    pub fn install(&self, artifact: &Path, index: &Index) -> Result<Record, PlaceError> {
        self.clear()?;
        let unpacked = self.unpack(artifact, index);
        let record = match unpacked {
            Ok(record) => record,
            Err(error) => {
                // Room for the next attempt; what cannot be removed now is removed by it.
                let _ = std::fs::remove_dir_all(self.partial());
                return Err(error);
            }
        };
        self.settle()?;
        self.vouch(&record)?;
        Ok(record)
    }

    /// Removes what lies here, the record first. Not while a command runs in it.
    ///
    /// # Errors
    /// It is held, or cannot be removed.
    pub fn clear(&self) -> Result<(), PlaceError> {
        std::fs::create_dir_all(&self.folder).map_err(PlaceError::write)?;
        let folder = File::open(&self.folder).map_err(PlaceError::Write)?;
        folder.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => PlaceError::Held,
            TryLockError::Error(error) => PlaceError::Write(error),
        })?;
        gone(std::fs::remove_file(self.record_path()))?;
        folder.sync_all().map_err(PlaceError::Write)?;
        for tree in [self.tree(), self.partial()] {
            gone(std::fs::remove_dir_all(tree))?;
        }
        Ok(())
    }

    /// Removes everything of it, and the folders above that are empty then.
    ///
    /// # Errors
    /// As [`Place::clear`].
    pub fn remove(&self) -> Result<(), PlaceError> {
        self.clear()?;
        // Other packages of the version or product may lie there: then they stay.
        if std::fs::remove_dir(&self.folder).is_ok()
            && let Some(product) = self.folder.parent()
        {
            let _ = std::fs::remove_dir(product);
        }
        Ok(())
    }

    /// Unpacks into a folder beside, and syncs it.
    ///
    /// # Errors
    /// The artifact does not check, or the folder cannot be written.
    pub fn unpack(&self, artifact: &Path, index: &Index) -> Result<Record, PlaceError> {
        let artifact = File::open(artifact).map_err(PlaceError::Artifact)?;
        let partial = self.partial();
        std::fs::create_dir(&partial).map_err(PlaceError::write)?;
        let mut payload = PayloadReader::new(index, &artifact);
        let mut writer = TreeWriter { root: partial.clone(), open: None, files: BTreeMap::new() };
        let read = read_tree(&mut payload, &mut writer);
        if let Some(error) = payload.failed.take() {
            return Err(PlaceError::Segment(error));
        }
        read.map_err(|error| match error {
            TreeError::Flaw(flaw) => PlaceError::Tree(flaw),
            TreeError::Read(error) => PlaceError::Artifact(error),
            TreeError::Write(error) => PlaceError::write(error),
        })?;
        let planned = index.payload().sha256;
        let found = payload.digest();
        if found != planned {
            return Err(PlaceError::Digest { found, planned });
        }
        // One call for all files and folders of it, and it tells of any that could not be written.
        let folder = File::open(&partial).map_err(PlaceError::Write)?;
        rustix::fs::syncfs(&folder).map_err(|e| PlaceError::write(e.into()))?;
        Ok(Record { format: 1, payload: planned, files: writer.files.len() as u64, tree: tree_digest(&writer.files) })
    }

    /// Gives what was unpacked its name, durably.
    ///
    /// # Errors
    /// It cannot be renamed or synced.
    pub fn settle(&self) -> Result<(), PlaceError> {
        Ok(durable::rename(&self.partial(), &self.tree())?)
    }

    /// Writes the record: from now on it is complete.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn vouch(&self, record: &Record) -> Result<(), PlaceError> {
        let bytes = serde_json::to_vec(record).map_err(|e| PlaceError::Write(e.into()))?;
        durable::write_file(&self.record_path(), &bytes)?;
        // The folders above may be new.
        for above in self.folder.ancestors().skip(1).take(3).filter(|above| above.exists()) {
            durable::sync_dir(above)?;
        }
        Ok(())
    }

    /// Holds it, so that it is not removed, until what is answered is dropped.
    ///
    /// # Errors
    /// It is not there.
    pub fn hold(&self) -> io::Result<File> {
        let folder = File::open(&self.folder)?;
        folder.lock_shared()?;
        Ok(folder)
    }

    /// Whether every file is what it was when it was unpacked: reads them all.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn recheck(&self, record: &Record) -> io::Result<bool> {
        let mut files = BTreeMap::new();
        look(&self.tree(), "", &mut files)?;
        Ok(tree_digest(&files) == record.tree)
    }
}

fn gone(removed: io::Result<()>) -> Result<(), PlaceError> {
    match removed {
        Err(e) if e.kind() != ErrorKind::NotFound => Err(PlaceError::Write(e)),
        _ => Ok(()),
    }
}

/// Each file's path, with the digest of its mode and content.
type FileDigests = BTreeMap<String, Digest>;

fn tree_digest(files: &FileDigests) -> Digest {
    let mut hash = Sha256::new();
    for (path, digest) in files {
        hash.update(format!("{path}\0{digest}\n"));
    }
    Digest::new(hash.finalize().into())
}

fn begin(executable: bool) -> Sha256 {
    Sha256::new().chain_update([u8::from(executable)])
}

fn look(folder: &Path, prefix: &str, files: &mut FileDigests) -> io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
        let metadata = entry.path().symlink_metadata()?;
        if metadata.is_dir() {
            look(&entry.path(), &format!("{name}/"), files)?;
            continue;
        }
        let mut hash = begin(metadata.permissions().mode() & 0o111 != 0);
        // Only plain files are unpacked: the name of anything else makes a difference.
        if metadata.is_file() {
            feed(&mut File::open(entry.path())?, &mut hash)?;
        }
        files.insert(name, Digest::new(hash.finalize().into()));
    }
    Ok(())
}

fn feed(file: &mut File, hash: &mut Sha256) -> io::Result<()> {
    let mut chunk = vec![0; CHUNK];
    loop {
        match file.read(&mut chunk)? {
            0 => return Ok(()),
            got => hash.update(&chunk[..got]),
        }
    }
}

/// The payload's bytes out of the artifact.
///
/// Each segment is checked before a byte of it is handed on.
struct PayloadReader<'a> {
    index: &'a Index,
    artifact: &'a File,
    next: u64,
    frame: Vec<u8>,
    segment: Vec<u8>,
    at: usize,
    hash: Sha256,
    failed: Option<SegmentError>,
}

impl<'a> PayloadReader<'a> {
    fn new(index: &'a Index, artifact: &'a File) -> Self {
        let (frame, segment) = (Vec::new(), Vec::new());
        Self { index, artifact, next: 0, frame, segment, at: 0, hash: Sha256::new(), failed: None }
    }

    fn digest(self) -> Digest {
        Digest::new(self.hash.finalize().into())
    }
}

impl Read for PayloadReader<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.at == self.segment.len() {
            let Some(segment) = self.index.segment(self.next) else { return Ok(0) };
            self.frame.clear();
            segment.read_frame(self.artifact, &mut self.frame)?;
            if let Err(error) = self.index.decode(self.next, &self.frame, &mut self.segment) {
                let text = error.to_string();
                self.failed = Some(error);
                return Err(io::Error::other(text));
            }
            self.hash.update(&self.segment);
            (self.at, self.next) = (0, self.next + 1);
        }
        let count = into.len().min(self.segment.len() - self.at);
        into[..count].copy_from_slice(&self.segment[self.at..self.at + count]);
        self.at += count;
        Ok(count)
    }
}

/// Files and folders as a tree names them, under a folder that was empty.
struct TreeWriter {
    root: PathBuf,
    open: Option<(String, BufWriter<File>, Sha256)>,
    files: FileDigests,
}

impl TreeSink for TreeWriter {
    fn folder(&mut self, path: &MemberPath) -> io::Result<()> {
        std::fs::create_dir_all(self.root.join(path.as_str()))
    }

    fn file(&mut self, path: &MemberPath, executable: bool) -> io::Result<()> {
        let target = self.root.join(path.as_str());
        if let Some(above) = target.parent() {
            std::fs::create_dir_all(above)?;
        }
        let mode = if executable { 0o755 } else { 0o644 };
        let file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&target)?;
        file.set_permissions(Permissions::from_mode(mode))?;
        let file = BufWriter::with_capacity(CHUNK, file);
        self.open = Some((path.to_string(), file, begin(executable)));
        Ok(())
    }

    fn bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        let Some((_, file, hash)) = self.open.as_mut() else { return Ok(()) };
        hash.update(bytes);
        file.write_all(bytes)
    }

    fn end(&mut self) -> io::Result<()> {
        let Some((path, mut file, hash)) = self.open.take() else { return Ok(()) };
        file.flush()?;
        self.files.insert(path, Digest::new(hash.finalize().into()));
        Ok(())
    }
}
