//! The tar inside a payload of kind `package` or `component-tree`: read under bounds, made so that equal folders give
//! equal bytes.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter, Read, Seek, Write};
use std::path::{Path, PathBuf};

use tar::{EntryType, Header};

use crate::flaw::{Flaw, Why};
use crate::limits::Limits;
use crate::path::{MemberPath, UnsafePath, show};
use crate::scan::extensions::Extensions;
use crate::scan::reader::{BLOCK, Blocks, Stop, entry_size};
use crate::scan::{describe, root_or_path};

/// Most files and folders of a tree.
pub const MAX_TREE_ENTRIES: u64 = 50_000;

/// How much of a file is copied at once, in bytes.
const CHUNK: usize = 256 * 1024;

/// Takes what a tree holds, in the order of the tar.
///
/// Every path stays within the tree and is named once.
pub trait TreeSink {
    /// A folder; those above it may not have been named before.
    ///
    /// # Errors
    /// It cannot be made.
    fn folder(&mut self, path: &MemberPath) -> io::Result<()>;

    /// A file begins.
    ///
    /// # Errors
    /// It cannot be made.
    fn file(&mut self, path: &MemberPath, executable: bool) -> io::Result<()>;

    /// The next bytes of the file that began last.
    ///
    /// # Errors
    /// They cannot be written.
    fn bytes(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// The file that began last is whole.
    ///
    /// # Errors
    /// It cannot be kept.
    fn end(&mut self) -> io::Result<()>;
}

/// Why a tree was not read to its end.
#[derive(Debug, thiserror::Error)]
pub enum TreeError {
    /// The tar is at fault: reading it again ends the same way.
    #[error(transparent)]
    Flaw(Flaw),
    /// The reader failed.
    #[error("cannot read the tar")]
    Read(#[source] io::Error),
    /// The sink failed.
    #[error("cannot write the tar's content")]
    Write(#[source] io::Error),
}

/// Reads a tree once, in bounded memory, and hands over what it holds.
///
/// Links, devices, paths that lead out, and two things of one path are refused; what came before was handed over
/// already.
///
/// # Errors
/// As [`TreeError`].
pub fn read_tree(reader: impl Read, sink: &mut dyn TreeSink) -> Result<(), TreeError> {
    let limits = Limits { max_members: MAX_TREE_ENTRIES, ..Limits::default() };
    let mut progress = |_| {};
    let blocks = Blocks::new(reader, &limits, &mut progress);
    let mut pass = Pass { blocks, limits: &limits, seen: BTreeMap::new(), sink, failed: None };
    let ended = pass.run();
    match (pass.failed, ended) {
        (Some(error), _) => Err(TreeError::Write(error)),
        (None, Err(Stop::Io(error))) => Err(TreeError::Read(error)),
        (None, Err(Stop::Flaw(flaw))) => Err(TreeError::Flaw(flaw)),
        (None, Ok(())) => Ok(()),
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Seen {
    File,
    Folder,
    /// Only as a folder above something.
    Above,
}

struct Pass<'a, R> {
    blocks: Blocks<'a, R>,
    limits: &'a Limits,
    seen: BTreeMap<String, Seen>,
    sink: &'a mut dyn TreeSink,
    /// The sink's first failure: nothing is handed over after it.
    failed: Option<io::Error>,
}

impl<R: Read> Pass<'_, R> {
    fn run(&mut self) -> Result<(), Stop> {
        let mut extensions = Extensions::default();
        let mut headers = 0;
        loop {
            let at = self.blocks.at();
            let Some(header) = self.blocks.header()? else {
                if !extensions.is_empty() {
                    let why = Why::new("extension-orphan", "belongs to no member");
                    return Err(Flaw::BadExtension { at, why }.into());
                }
                return self.blocks.end();
            };
            headers += 1;
            if headers > 2 * self.limits.max_members || self.seen.len() as u64 > self.limits.max_members {
                return Err(Flaw::TooManyMembers { limit: self.limits.max_members }.into());
            }
            let kind = header.entry_type();
            if Extensions::is_extension(kind) {
                let why = Why::new("header-size", "its size cannot be read");
                let bytes = entry_size(&header).ok_or(Flaw::BadHeader { at, why })?;
                let limit = self.limits.max_extension_bytes;
                if bytes > limit {
                    return Err(Flaw::LongExtension { at, bytes, limit }.into());
                }
                let body = self.blocks.small_body(bytes, "an extension record")?;
                extensions.add(kind, at, body)?;
                continue;
            }
            if let Some(why) = Why::unreadable(kind) {
                return Err(Flaw::Unreadable { at, why }.into());
            }
            let (name, size) = extensions.resolve(&header, at)?;
            self.member(&header, &name, size)?;
            if self.failed.is_some() {
                return Ok(());
            }
        }
    }

    fn member(&mut self, header: &Header, name: &[u8], size: u64) -> Result<(), Stop> {
        let (kind, shown) = (header.entry_type(), show(name));
        match kind {
            EntryType::Regular => {}
            EntryType::Directory if size == 0 => {}
            kind => {
                let (kind, code) = describe(kind);
                return Err(Flaw::Kind { path: shown, kind, code }.into());
            }
        }
        let folder = kind == EntryType::Directory;
        let Some(path) = root_or_path(kind, name).map_err(Flaw::from)? else { return Ok(()) };
        self.note(&path, folder, &shown)?;
        if folder {
            let made = self.sink.folder(&path);
            self.keep(made);
            return Ok(());
        }
        // Set for any: whose it is does not matter here.
        let executable = header.mode().is_ok_and(|mode| mode & 0o111 != 0);
        let made = self.sink.file(&path, executable);
        self.keep(made);
        let (sink, failed) = (&mut *self.sink, &mut self.failed);
        self.blocks.body(size, &shown, |part| {
            if failed.is_none() {
                *failed = sink.bytes(part).err();
            }
        })?;
        if self.failed.is_none() {
            let ended = self.sink.end();
            self.keep(ended);
        }
        Ok(())
    }

    /// Refuses paths that occur twice, and files used as folders.
    fn note(&mut self, path: &MemberPath, folder: bool, shown: &str) -> Result<(), Flaw> {
        let twice = || Flaw::Duplicate { path: shown.to_owned() };
        for (at, _) in path.as_str().match_indices('/') {
            if *self.seen.entry(path.as_str()[..at].to_owned()).or_insert(Seen::Above) == Seen::File {
                return Err(twice());
            }
        }
        let now = if folder { Seen::Folder } else { Seen::File };
        match self.seen.insert(path.as_str().to_owned(), now) {
            None => Ok(()),
            Some(Seen::Above) if folder => Ok(()),
            Some(_) => Err(twice()),
        }
    }

    fn keep(&mut self, made: io::Result<()>) {
        if self.failed.is_none() {
            self.failed = made.err();
        }
    }
}

/// The tar of a folder, in a file without a name that lay at `beside` for a moment.
///
/// And its length in bytes.
///
/// # Errors
/// As [`write_tree`]; with the path at fault.
pub(crate) fn tar_of(folder: &Path, beside: &Path) -> Result<(File, u64), (PathBuf, io::Error)> {
    let failed = |e| (beside.to_owned(), e);
    let mut file = File::options().read(true).write(true).create(true).truncate(true).open(beside).map_err(failed)?;
    std::fs::remove_file(beside).map_err(failed)?;
    let mut writer = BufWriter::with_capacity(CHUNK, &mut file);
    let length = write_tree(folder, &mut writer)?;
    writer.flush().map_err(failed)?;
    drop(writer);
    file.rewind().map_err(failed)?;
    Ok((file, length))
}

/// Writes the tar of a folder: names in order, times 0, owners 0, modes 0644 or 0755.
///
/// Equal folders give equal bytes. Answers how many bytes were written.
///
/// # Errors
/// The folder cannot be read, holds something that [`read_tree`] would refuse, or `out` cannot be written.
fn write_tree(folder: &Path, out: &mut dyn Write) -> Result<u64, (PathBuf, io::Error)> {
    let mut names = Vec::new();
    list(folder, "", &mut names)?;
    names.sort();
    let mut length = 0;
    for name in &names {
        length += write_entry(folder, name, out).map_err(|e| (folder.join(name.as_str()), e))?;
    }
    out.write_all(&[0; 2 * BLOCK]).map_err(|e| (folder.to_owned(), e))?;
    Ok(length + 2 * BLOCK as u64)
}

fn list(folder: &Path, prefix: &str, into: &mut Vec<MemberPath>) -> Result<(), (PathBuf, io::Error)> {
    let here = folder.join(prefix);
    let odd = |path: &Path, why: &str| (path.to_owned(), io::Error::other(why.to_owned()));
    for entry in std::fs::read_dir(&here).map_err(|e| (here.clone(), e))? {
        let entry = entry.map_err(|e| (here.clone(), e))?;
        let (path, kind) = (entry.path(), entry.file_type().map_err(|e| (entry.path(), e))?);
        let Ok(name) = entry.file_name().into_string() else { return Err(odd(&path, "its name is not UTF-8")) };
        let name = if prefix.is_empty() { name } else { format!("{prefix}/{name}") };
        into.push(name.parse().map_err(|why: UnsafePath| (path.clone(), io::Error::other(why)))?);
        if into.len() as u64 > MAX_TREE_ENTRIES {
            return Err(odd(folder, "it contains more than 50,000 files and folders"));
        }
        if kind.is_dir() {
            list(folder, &name, into)?;
        } else if !kind.is_file() {
            return Err(odd(
                &path,
                "it is neither a regular file nor a folder, and a package may contain nothing else",
            ));
        }
    }
    Ok(())
}

fn write_entry(folder: &Path, name: &MemberPath, out: &mut dyn Write) -> io::Result<u64> {
    use std::os::unix::fs::PermissionsExt;
    let path = folder.join(name.as_str());
    let metadata = std::fs::symlink_metadata(&path)?;
    let mut header = Header::new_ustar();
    let is_dir = metadata.is_dir();
    header.set_entry_type(if is_dir { EntryType::Directory } else { EntryType::Regular });
    header.set_path(if is_dir { format!("{name}/") } else { name.to_string() }).map_err(|e| {
        io::Error::other(format!("its path does not fit a tar header ({e}); shorten it to 100 bytes in the package"))
    })?;
    header.set_mode(if is_dir || metadata.permissions().mode() & 0o111 != 0 { 0o755 } else { 0o644 });
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    let length = if is_dir { 0 } else { metadata.len() };
    header.set_size(length);
    header.set_cksum();
    out.write_all(header.as_bytes())?;
    if !is_dir {
        copy(&path, length, out)?;
    }
    let filled = length.next_multiple_of(BLOCK as u64);
    out.write_all(&[0; BLOCK][..(filled - length) as usize])?;
    Ok(BLOCK as u64 + filled)
}

fn copy(path: &Path, length: u64, out: &mut dyn Write) -> io::Result<()> {
    // One byte more, so that a file that grows is noticed.
    let mut file = File::open(path)?.take(length + 1);
    let (mut chunk, mut copied) = (vec![0; CHUNK.min(length as usize + 1)], 0);
    loop {
        let got = file.read(&mut chunk)?;
        copied += got as u64;
        if copied > length || (got == 0 && copied < length) {
            return Err(io::Error::other("it changed while it was packed"));
        }
        if got == 0 {
            return Ok(());
        }
        out.write_all(&chunk[..got])?;
    }
}
