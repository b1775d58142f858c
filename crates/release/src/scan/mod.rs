//! One pass over an archive: what is in it, where each payload lies, and what is wrong with it.

pub(crate) mod extensions;
mod kernel;
pub(crate) mod reader;

use std::collections::BTreeSet;
use std::io::{self, Read};

use fleet_types::Digest;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tar::{EntryType, Header};

use crate::flaw::{Flaw, Why};
use crate::image::{HEAD_LEN, Image};
use crate::limits::Limits;
use crate::manifest::{MANIFEST_NAME, Manifest, ManifestError, Payload};
use crate::path::{MemberPath, UnsafePath, show};

use extensions::Extensions;
use kernel::KernelLook;
pub(crate) use reader::BLOCK;
use reader::{Blocks, Stop};

/// Maximum flaws kept; a hostile archive can have one per member.
const MAX_FLAWS: usize = 50;

/// A plain file in an archive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Its path.
    pub path: MemberPath,
    /// Where its content begins in the archive, in bytes.
    pub offset: u64,
    /// Length of its content in bytes.
    pub length: u64,
    /// Digest of its content.
    pub sha256: Digest,
    /// The file system it holds, if one was recognised.
    pub image: Option<Image>,
    /// Whether it is an image with a kernel and without the sums by which the boot script checks it.
    #[serde(default)]
    pub kernel_unchecked: bool,
}

/// `release.toml` as it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManifestRead {
    /// Its bytes, exactly; empty if it was too long to be read.
    pub bytes: Vec<u8>,
    /// Digest of its bytes: by it the release is known.
    pub sha256: Digest,
    /// What it says, or why that cannot be told.
    pub parsed: Result<Manifest, ManifestError>,
}

/// What one pass over an archive found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scan {
    /// How many bytes were read: the archive's length, if [`Scan::complete`].
    pub length: u64,
    /// Whether the pass reached the end of the archive.
    pub complete: bool,
    /// The manifest, if the first member was one.
    pub manifest: Option<ManifestRead>,
    /// The other plain files, in the archive's order. At most [`Limits::max_members`].
    pub members: Vec<Member>,
    /// What is wrong, in the order found; at most 50 are kept.
    pub flaws: Vec<Flaw>,
}

impl Scan {
    /// The manifest, if it was read and holds together.
    pub fn manifest(&self) -> Option<&Manifest> {
        self.manifest.as_ref().and_then(|m| m.parsed.as_ref().ok())
    }

    /// The file of a payload, if it is in the archive.
    pub fn member_of(&self, payload: &Payload) -> Option<&Member> {
        self.members.iter().find(|m| m.path == payload.file)
    }

    /// Each payload of the manifest with its file, where there is one.
    pub fn payloads(&self) -> impl Iterator<Item = (&Payload, Option<&Member>)> {
        self.manifest().into_iter().flat_map(|m| &m.payloads).map(|p| (p, self.member_of(p)))
    }
}

/// Reads an archive once, from beginning to end, in bounded memory.
///
/// Whatever is wrong with the archive is in the result; `progress` is told how many bytes were read so far.
///
/// # Errors
/// The reader failed. Bytes that are not an archive are flaws, not an error.
pub fn scan(reader: impl Read, limits: &Limits, progress: &mut dyn FnMut(u64)) -> io::Result<Scan> {
    run(reader, limits, progress, usize::MAX)
}

/// Reads only as far as the manifest: `complete` stays false and `members` empty.
///
/// # Errors
/// The reader failed.
pub fn inspect(reader: impl Read, limits: &Limits) -> io::Result<Scan> {
    run(reader, limits, &mut |_| {}, 1)
}

fn run(reader: impl Read, limits: &Limits, progress: &mut dyn FnMut(u64), most: usize) -> io::Result<Scan> {
    let blocks = Blocks::new(reader, limits, progress);
    let mut pass = Pass { blocks, limits, seen: BTreeSet::new(), folders: Vec::new(), scan: Scan::begin() };
    match pass.run(most) {
        Ok(()) => {}
        Err(Stop::Flaw(flaw)) => pass.note(flaw),
        Err(Stop::Io(e)) => return Err(e),
    }
    pass.scan.length = pass.blocks.at();
    if most > 1 {
        pass.compare_with_manifest();
    }
    Ok(pass.scan)
}

impl Scan {
    fn begin() -> Self {
        Self { length: 0, complete: false, manifest: None, members: Vec::new(), flaws: Vec::new() }
    }
}

struct Pass<'a, R> {
    blocks: Blocks<'a, R>,
    limits: &'a Limits,
    seen: BTreeSet<MemberPath>,
    folders: Vec<MemberPath>,
    scan: Scan,
}

impl<R: Read> Pass<'_, R> {
    fn run(&mut self, most: usize) -> Result<(), Stop> {
        let mut extensions = Extensions::default();
        let (mut headers, mut members) = (0, 0);
        while members < most {
            let at = self.blocks.at();
            let Some(header) = self.blocks.header()? else {
                if !extensions.is_empty() {
                    return Err(
                        Flaw::BadExtension { at, why: Why::new("extension-orphan", "belongs to no member") }.into()
                    );
                }
                self.blocks.end()?;
                self.scan.complete = true;
                return Ok(());
            };
            headers += 1;
            if headers > self.limits.max_members {
                return Err(Flaw::TooManyMembers { limit: self.limits.max_members }.into());
            }
            let kind = header.entry_type();
            if Extensions::is_extension(kind) {
                let body = self.extension(&header, at)?;
                extensions.add(kind, at, body)?;
                continue;
            }
            if let Some(why) = Why::unreadable(kind) {
                return Err(Flaw::Unreadable { at, why }.into());
            }
            let (name, size) = extensions.resolve(&header, at)?;
            self.member(kind, &name, size, members == 0)?;
            members += 1;
        }
        Ok(())
    }

    fn extension(&mut self, header: &Header, at: u64) -> Result<Vec<u8>, Stop> {
        let bytes = reader::entry_size(header)
            .ok_or(Flaw::BadHeader { at, why: Why::new("header-size", "its size cannot be read") })?;
        let limit = self.limits.max_extension_bytes;
        if bytes > limit {
            return Err(Flaw::LongExtension { at, bytes, limit }.into());
        }
        self.blocks.small_body(bytes, "an extension record")
    }

    /// One member: noted if it is in order, passed over with a flaw if not.
    fn member(&mut self, kind: EntryType, name: &[u8], size: u64, first: bool) -> Result<(), Stop> {
        let named = without_slash(kind, name);
        let shown = show(name);
        let is_manifest = first && kind.is_file() && matches!(named, b"release.toml" | b"./release.toml");
        if first && !is_manifest {
            self.note(Flaw::NotFirst { first: shown.clone() });
        }
        let path = root_or_path(kind, name).unwrap_or_else(|why| {
            self.note(why.into());
            None
        });
        let twice = path.as_ref().is_some_and(|p| !self.seen.insert(p.clone()));
        if twice {
            self.note(Flaw::Duplicate { path: shown.clone() });
        }
        match (path, kind) {
            (_, EntryType::Regular) if is_manifest => self.manifest(size),
            (Some(path), EntryType::Regular) if !twice => self.file(path, size, &shown),
            (path, EntryType::Directory) if size == 0 => {
                self.folders.extend(path);
                Ok(())
            }
            (_, EntryType::Regular) => self.blocks.body(size, &shown, |_| {}),
            (_, kind) => {
                let (kind_name, code) = describe(kind);
                self.note(Flaw::Kind { path: shown.clone(), kind: kind_name, code });
                // Links and devices have no content, whatever their size says; others do.
                let size = if has_content(kind) { size } else { 0 };
                self.blocks.body(size, &shown, |_| {})
            }
        }
    }

    fn manifest(&mut self, size: u64) -> Result<(), Stop> {
        let limit = self.limits.max_manifest_bytes;
        let (bytes, parsed) = if size > limit {
            self.blocks.body(size, MANIFEST_NAME, |_| {})?;
            (Vec::new(), Err(ManifestError::TooLong { bytes: size, limit }))
        } else {
            let bytes = self.blocks.small_body(size, MANIFEST_NAME)?;
            let parsed = Manifest::parse(&bytes);
            (bytes, parsed)
        };
        let sha256 = Digest::new(Sha256::digest(&bytes).into());
        self.scan.manifest = Some(ManifestRead { bytes, sha256, parsed });
        Ok(())
    }

    fn file(&mut self, path: MemberPath, size: u64, shown: &str) -> Result<(), Stop> {
        let offset = self.blocks.at();
        let mut hash = Sha256::new();
        let (mut head, mut kernel) = (Vec::with_capacity(HEAD_LEN), KernelLook::default());
        self.blocks.body(size, shown, |part| {
            hash.update(part);
            let wanted = HEAD_LEN - head.len();
            head.extend_from_slice(&part[..part.len().min(wanted)]);
            kernel.take(&head, part);
        })?;
        let sha256 = Digest::new(hash.finalize().into());
        let (image, kernel_unchecked) = (Image::recognise(&head), kernel.is_unchecked());
        self.scan.members.push(Member { path, offset, length: size, sha256, image, kernel_unchecked });
        Ok(())
    }

    /// Notes unlisted and missing members, which show only after everything is read.
    fn compare_with_manifest(&mut self) {
        let Some(manifest) = self.scan.manifest().cloned() else { return };
        let named = |path: &MemberPath| manifest.payloads.iter().any(|p| p.file == *path);
        let above = |path: &MemberPath| manifest.payloads.iter().any(|p| path.is_above(&p.file));
        let files = self.scan.members.iter().map(|m| &m.path).filter(|p| !named(p));
        let folders = self.folders.iter().filter(|p| !above(p));
        let unknown: Vec<_> =
            files.chain(folders).map(|p| Flaw::Unknown { path: show(p.as_str().as_bytes()) }).collect();
        let missing = |p: &&Payload| self.scan.complete && self.scan.member_of(p).is_none();
        let missing: Vec<_> = manifest
            .payloads
            .iter()
            .filter(missing)
            .map(|p| Flaw::Missing { path: show(p.file.as_str().as_bytes()), payload: p.name.to_string() })
            .collect();
        unknown.into_iter().chain(missing).for_each(|flaw| self.note(flaw));
    }

    fn note(&mut self, flaw: Flaw) {
        // A flaw that ends the pass is always kept: it explains why the rest was not judged.
        if self.scan.flaws.len() < MAX_FLAWS || flaw.ends_the_pass() {
            self.scan.flaws.push(flaw);
        }
    }
}

fn has_content(kind: EntryType) -> bool {
    !matches!(kind, EntryType::Link | EntryType::Symlink | EntryType::Char | EntryType::Block | EntryType::Fifo)
}

fn without_slash(kind: EntryType, name: &[u8]) -> &[u8] {
    match kind {
        EntryType::Directory => name.strip_suffix(b"/").unwrap_or(name),
        _ => name,
    }
}

/// A member's path; `None` for the root folder, which plain `tar` may include.
pub(crate) fn root_or_path(kind: EntryType, name: &[u8]) -> Result<Option<MemberPath>, UnsafePath> {
    match without_slash(kind, name) {
        b"." | b"" if kind == EntryType::Directory => Ok(None),
        named => MemberPath::from_archive(named).map(Some),
    }
}

pub(crate) fn describe(kind: EntryType) -> (&'static str, &'static str) {
    match kind {
        EntryType::Link => ("hard link", "member-hard-link"),
        EntryType::Symlink => ("symbolic link", "member-symbolic-link"),
        EntryType::Char | EntryType::Block => ("device", "member-device"),
        EntryType::Fifo => ("named pipe", "member-named-pipe"),
        EntryType::Directory => ("folder with content", "member-folder-content"),
        _ => ("member of a kind that is not read here", "member-kind"),
    }
}
