//! Packs a folder into an update archive.

mod error;

use std::fs::File;
use std::io::{self, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use fleet_types::Digest;
use sha2::{Digest as _, Sha256};
use tar::{EntryType, Header};

use crate::draft::{Draft, DraftPayload};
use crate::limits::Limits;
use crate::manifest::{MANIFEST_NAME, Manifest, ManifestError, PayloadKind};
use crate::path::MemberPath;
use crate::scan::BLOCK;
use crate::tree::tar_of;

pub use error::PackError;

/// Time of every member, in seconds of Unix time.
///
/// The same for all, so that equal input gives equal bytes.
const MTIME: u64 = 0;
/// Mode of every member.
const MODE: u32 = 0o644;
/// How much is copied at once, in bytes.
const CHUNK: usize = 256 * 1024;

/// What was packed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packed {
    /// The manifest as it stands in the archive, sizes and digests filled in.
    pub manifest: Manifest,
    /// Digest of the manifest's bytes in the archive.
    pub manifest_sha256: Digest,
    /// Length of the archive in bytes.
    pub length: u64,
}

/// A payload's file, opened, its length known.
struct Source {
    file: File,
    path: PathBuf,
    name: MemberPath,
    length: u64,
}

/// Packs `source` (a folder with `release.toml`, or that file) into `out`.
///
/// Equal input gives an equal archive. `out` appears whole or not at all. A package or component tree given as a folder
/// becomes a tar. `progress` receives the bytes packed and the total.
///
/// # Errors
/// The manifest is not in order, a file is missing, a link or other than stated, or `out` cannot be written.
pub fn pack(source: &Path, out: &Path, progress: &mut dyn FnMut(u64, u64)) -> Result<Packed, PackError> {
    let manifest_path = manifest_of(source);
    let draft = read_draft(&manifest_path)?;
    let bad = |source| PackError::BadManifest { path: manifest_path.clone(), source };
    let folder = manifest_path.parent().unwrap_or(Path::new("."));
    let sources = open_all(folder, &draft, out).map_err(|e| e.or_else(bad))?;
    let temporary = temporary_for(out);
    let done =
        Archive::write((&temporary, out), &draft, sources, progress).map_err(|e| e.or_else(bad)).and_then(|packed| {
            std::fs::rename(&temporary, out).map_err(|source| PackError::Write { path: out.to_path_buf(), source })?;
            Ok(packed)
        });
    if done.is_err() {
        // If this fails too there is nothing to add: the error that led here is the one to show.
        let _ = std::fs::remove_file(&temporary);
    }
    done
}

/// Returns the usual name for the archive of `source`: `PRODUCT-VERSION.upd`.
///
/// # Errors
/// The manifest cannot be read.
pub fn archive_name(source: &Path) -> Result<String, PackError> {
    let draft = read_draft(&manifest_of(source))?;
    Ok(format!("{}-{}.upd", draft.product, draft.version))
}

fn manifest_of(source: &Path) -> PathBuf {
    if source.is_dir() { source.join(MANIFEST_NAME) } else { source.to_path_buf() }
}

/// An error whose manifest's path is still to be added.
enum Fault {
    Manifest(ManifestError),
    Other(PackError),
}

impl Fault {
    fn or_else(self, bad: impl Fn(ManifestError) -> PackError) -> PackError {
        match self {
            Self::Manifest(e) => bad(e),
            Self::Other(e) => e,
        }
    }
}

impl From<ManifestError> for Fault {
    fn from(e: ManifestError) -> Self {
        Self::Manifest(e)
    }
}

impl From<PackError> for Fault {
    fn from(e: PackError) -> Self {
        Self::Other(e)
    }
}

fn read_draft(path: &Path) -> Result<Draft, PackError> {
    let limit = Limits::default().max_manifest_bytes;
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|f| f.take(limit + 1).read_to_end(&mut bytes));
    read.map_err(|source| PackError::Manifest { path: path.to_path_buf(), source })?;
    if bytes.len() as u64 > limit {
        return Err(PackError::LongManifest { path: path.to_path_buf(), limit });
    }
    Draft::parse(&bytes).map_err(|source| PackError::BadManifest { path: path.to_path_buf(), source })
}

fn open_all(folder: &Path, draft: &Draft, out: &Path) -> Result<Vec<Source>, Fault> {
    // Everything but sizes and digests is judged first: no file is opened for a manifest that cannot be packed.
    draft.finish(&vec![(1, Digest::new([0; 32])); draft.payload.len()])?;
    let sources = draft.payload.iter().map(|p| open(folder, p, out)).collect::<Result<Vec<_>, _>>()?;
    let target = out.canonicalize().ok();
    match sources.iter().find(|s| target.is_some() && s.path.canonicalize().ok() == target) {
        Some(source) => Err(PackError::OutIsSource { path: source.path.clone() }.into()),
        None => Ok(sources),
    }
}

fn open(folder: &Path, payload: &DraftPayload, out: &Path) -> Result<Source, Fault> {
    let name = payload.path()?;
    let path = folder.join(name.as_str());
    let failed = |(path, source)| PackError::Source { path, payload: payload.name.to_string(), source };
    let unreadable = |source| failed((path.clone(), source));
    let mut part = folder.to_path_buf();
    let mut is_tree = false;
    for component in name.as_str().split('/') {
        part.push(component);
        let metadata = std::fs::symlink_metadata(&part).map_err(unreadable)?;
        is_tree = metadata.is_dir() && payload.kind != PayloadKind::SlotImage;
        let plain = if part == path { metadata.is_file() || is_tree } else { metadata.is_dir() };
        if !plain {
            let kind = kind_of(&metadata);
            return Err(PackError::NotFile { path: part, payload: payload.name.to_string(), kind }.into());
        }
    }
    let (file, length) = if is_tree {
        let temporary = temporary_for(out);
        tar_of(&path, &temporary).map_err(|(path, source)| match path == temporary {
            true => PackError::Write { path: out.to_path_buf(), source },
            false => failed((path, source)),
        })?
    } else {
        let file = File::open(&path).map_err(unreadable)?;
        let length = file.metadata().map_err(unreadable)?.len();
        (file, length)
    };
    stated(&path, "size", payload.size, length)?;
    Ok(Source { file, path, name, length })
}

fn kind_of(metadata: &std::fs::Metadata) -> &'static str {
    match metadata {
        m if m.is_symlink() => "symbolic link",
        m if m.is_dir() => "folder",
        m if m.is_file() => "file where a folder should be",
        _ => "device, socket or pipe",
    }
}

/// Checks a stated value against the file; an omitted value is filled in.
fn stated<T: PartialEq + ToString>(
    path: &Path,
    field: &'static str,
    stated: Option<T>,
    found: T,
) -> Result<(), PackError> {
    match stated {
        Some(stated) if stated != found => Err(PackError::NotAsStated {
            path: path.to_path_buf(),
            field,
            found: found.to_string(),
            stated: stated.to_string(),
        }),
        _ => Ok(()),
    }
}

/// Beside the archive, so that the rename stays within one file system.
fn temporary_for(out: &Path) -> PathBuf {
    let mut name = out.file_name().unwrap_or_default().to_os_string();
    name.push(".partial");
    out.with_file_name(name)
}

/// The archive being written.
struct Archive<'a> {
    /// Where the archive goes in the end: the file that the caller knows.
    path: &'a Path,
    out: BufWriter<File>,
    length: u64,
    payload_bytes: u64,
}

impl<'a> Archive<'a> {
    fn write(
        (temporary, path): (&Path, &'a Path),
        draft: &Draft,
        sources: Vec<Source>,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<Packed, Fault> {
        let total = sources.iter().map(|s| s.length).sum();
        let file = File::create(temporary).map_err(|source| PackError::Write { path: path.to_path_buf(), source })?;
        let mut archive = Self { path, out: BufWriter::with_capacity(CHUNK, file), length: 0, payload_bytes: 0 };
        // All digests have one length: the manifest is written with blank ones, and once more in its place when the
        // files were read. So each file is read only once.
        let mut filled: Vec<_> = sources.iter().map(|s| (s.length, Digest::new([0; 32]))).collect();
        let blank = draft.finish(&filled)?.to_toml()?;
        archive.member(MANIFEST_NAME, blank.len() as u64, "release.toml")?;
        archive.put(blank.as_bytes())?;
        archive.fill_up()?;
        for (i, (source, payload)) in sources.into_iter().zip(&draft.payload).enumerate() {
            let sha256 = archive.payload(source, payload, total, progress)?;
            filled[i].1 = sha256;
        }
        archive.put(&[0; 2 * BLOCK])?;
        let manifest = draft.finish(&filled)?;
        let text = manifest.to_toml()?;
        debug_assert_eq!(text.len(), blank.len());
        let length = archive.finish(text.as_bytes())?;
        let manifest_sha256 = Digest::new(Sha256::digest(text.as_bytes()).into());
        Ok(Packed { manifest, manifest_sha256, length })
    }

    fn payload(
        &mut self,
        mut source: Source,
        payload: &DraftPayload,
        total: u64,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<Digest, PackError> {
        self.member(source.name.as_str(), source.length, payload.name.as_str())?;
        let begun = self.payload_bytes;
        let mut hash = Sha256::new();
        let mut chunk = vec![0; CHUNK];
        loop {
            let got = source.file.read(&mut chunk).map_err(|e| PackError::Source {
                path: source.path.clone(),
                payload: payload.name.to_string(),
                source: e,
            })?;
            hash.update(&chunk[..got]);
            self.put(&chunk[..got])?;
            self.payload_bytes += got as u64;
            progress(self.payload_bytes, total);
            let done = self.payload_bytes - begun;
            if done > source.length || (got == 0 && done < source.length) {
                return Err(PackError::Changed { path: source.path });
            }
            if got == 0 {
                break;
            }
        }
        self.fill_up()?;
        let sha256 = Digest::new(hash.finalize().into());
        stated(&source.path, "sha256", payload.sha256, sha256)?;
        Ok(sha256)
    }

    fn member(&mut self, name: &str, length: u64, payload: &str) -> Result<(), PackError> {
        let mut header = Header::new_ustar();
        let long = |_| PackError::LongPath { path: name.to_owned(), payload: payload.to_owned() };
        header.set_path(name).map_err(long)?;
        header.set_entry_type(EntryType::Regular);
        header.set_mode(MODE);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(MTIME);
        // Above 8 GiB this is GNU's base-256, which every tar of today reads.
        header.set_size(length);
        header.set_cksum();
        self.put(header.as_bytes())
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), PackError> {
        self.length += bytes.len() as u64;
        self.out.write_all(bytes).map_err(|source| self.failed(source))
    }

    fn fill_up(&mut self) -> Result<(), PackError> {
        let rest = (self.length % BLOCK as u64) as usize;
        if rest == 0 { Ok(()) } else { self.put(&[0; BLOCK][rest..]) }
    }

    fn finish(mut self, manifest: &[u8]) -> Result<u64, PackError> {
        let written = self
            .out
            .seek(SeekFrom::Start(BLOCK as u64))
            .and_then(|_| self.out.write_all(manifest))
            .and_then(|()| self.out.flush())
            .and_then(|()| self.out.get_ref().sync_all());
        written.map_err(|source| self.failed(source))?;
        Ok(self.length)
    }

    fn failed(&self, source: io::Error) -> PackError {
        PackError::Write { path: self.path.to_path_buf(), source }
    }
}
