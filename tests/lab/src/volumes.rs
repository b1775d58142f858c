//! Disks of limited size, so that a place's disk can be full while the machine's is not: a tmpfs a volume.
//!
//! Every mount carries the lab's prefix as its source, so that a clean-up finds exactly these.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::FallocateFlags;

use crate::error::LabError;
use crate::exec::Tool;

/// The file that takes all room of a full disk.
const FILLER: &str = "filler";
/// The largest file that is kept as evidence when a volume goes.
const EVIDENCE: u64 = 2 << 20;

/// The sizes of disks, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiskSizes {
    /// Head office's disk: store, state, its daemon's memory.
    pub head_office: u64,
    /// A branch server's disk: store, state, its daemon's memory.
    pub branch: u64,
    /// Each database's volume.
    pub database: u64,
    /// Each terminal's data partition.
    pub terminal: u64,
}

fn source(prefix: &str) -> String {
    format!("filial-lab-{prefix}")
}

/// Puts an empty disk of this size at `path`, which is made if it is missing.
pub(crate) fn mount(prefix: &str, path: &Path, bytes: u64) -> Result<(), LabError> {
    std::fs::create_dir_all(path).map_err(LabError::file("create", path))?;
    let options = format!("size={bytes},mode=755");
    Tool::new("mount").args(["-t", "tmpfs", "-o", &options, &source(prefix)]).arg(path).run().map(drop)
}

/// Removes every disk of the lab with this prefix. Emptied first: other processes' mount namespaces may hold a copy
/// of the mount for as long as they run, and with it the memory.
pub(crate) fn unmount_all(prefix: &str) -> Result<(), LabError> {
    for path in mounted(prefix)?.iter().rev() {
        empty(path);
        if Tool::new("umount").arg(path).run().is_err() {
            Tool::new("umount").arg("--lazy").arg(path).run()?;
        }
    }
    Ok(())
}

/// Where the disks of the lab with this prefix are.
pub(crate) fn mounted(prefix: &str) -> Result<Vec<PathBuf>, LabError> {
    let list = "/proc/self/mountinfo";
    let text = std::fs::read_to_string(list).map_err(LabError::file("read", list))?;
    Ok(text.lines().filter_map(|line| mount_point(line, &source(prefix))).collect())
}

/// The mount point in a line of mountinfo, if it is a tmpfs of this source. Blanks in paths are written `\040`.
fn mount_point(line: &str, source: &str) -> Option<PathBuf> {
    let (before, after) = line.split_once(" - ")?;
    let mut after = after.split(' ');
    let ours = after.next() == Some("tmpfs") && after.next() == Some(source);
    ours.then(|| before.split(' ').nth(4).map(|p| PathBuf::from(p.replace("\\040", " "))))?
}

fn empty(folder: &Path) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        let _ = if path.is_dir() { std::fs::remove_dir_all(&path) } else { std::fs::remove_file(&path) };
    }
}

/// Takes all the room that is left on the file system of `folder`.
pub(crate) fn fill(folder: &Path) -> Result<(), LabError> {
    let path = folder.join(FILLER);
    let file = File::options().create(true).append(true).open(&path).map_err(LabError::file("open", &path))?;
    let mut step = 64 << 20;
    while step >= 4096 {
        let end = file.metadata().map_err(LabError::file("look at", &path))?.len();
        match rustix::fs::fallocate(&file, FallocateFlags::empty(), end, step) {
            Ok(()) => {}
            Err(rustix::io::Errno::NOSPC) => step /= 2,
            Err(e) => return Err(LabError::file("fill the disk with", &path)(e.into())),
        }
    }
    Ok(())
}

/// Gives the room back that [`fill`] took.
pub(crate) fn free(folder: &Path) -> Result<(), LabError> {
    let path = folder.join(FILLER);
    match std::fs::remove_file(&path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(LabError::file("remove", &path)(e)),
        _ => Ok(()),
    }
}

/// Copies the small files of a volume (journals, logs of events, daemons' settings) to where they can stay.
pub(crate) fn keep_evidence(volume: &Path, to: &Path) {
    for entry in std::fs::read_dir(volume).into_iter().flatten().flatten() {
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        match entry.metadata() {
            Ok(meta) if meta.is_dir() => keep_evidence(&from, &to),
            Ok(meta) if meta.is_file() && meta.len() <= EVIDENCE => {
                if let Some(folder) = to.parent() {
                    let _ = std::fs::create_dir_all(folder);
                }
                let _ = std::fs::copy(&from, &to);
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn only_mounts_of_this_lab_are_found() {
        let line = |source: &str| format!("99 21 0:55 / /a\\040b/disk rw,relatime - tmpfs {source} rw,size=1024k");
        assert_eq!(mount_point(&line("filial-lab-fl07"), "filial-lab-fl07"), Some("/a b/disk".into()));
        assert_eq!(mount_point(&line("filial-lab-fl17"), "filial-lab-fl07"), None);
        assert_eq!(mount_point(&line("tmpfs"), "filial-lab-fl07"), None);
        assert_eq!(mount_point("22 27 0:21 / /proc rw - proc proc rw", "filial-lab-fl07"), None);
    }

    #[test]
    fn a_full_disk_takes_no_byte_and_a_freed_one_does_and_nothing_stays_mounted() {
        let folder = tempfile::tempdir().unwrap();
        let (disk, kept) = (folder.path().join("disk"), folder.path().join("kept"));
        // No lab has this prefix.
        let prefix = format!("test{}", rustix::process::getpid().as_raw_nonzero());
        mount(&prefix, &disk, 8 << 20).unwrap();
        let write = |name: &str| File::create(disk.join(name)).and_then(|mut f| f.write_all(&[1; 4096]));
        write("journal").unwrap();
        fill(&disk).unwrap();
        assert_eq!(write("more").unwrap_err().kind(), io::ErrorKind::StorageFull);
        free(&disk).unwrap();
        free(&disk).unwrap();
        write("more").unwrap();
        keep_evidence(&disk, &kept);
        unmount_all(&prefix).unwrap();
        assert!(mounted(&prefix).unwrap().is_empty());
        assert_eq!(std::fs::read_dir(&disk).unwrap().count(), 0, "the volume is gone");
        assert_eq!(std::fs::read(kept.join("journal")).unwrap(), [1; 4096]);
    }
}
