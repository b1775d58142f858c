//! Room that a program keeps for its own small files, so that it can still note and say something while others have filled
//! the disk.
//!
//! The room is a file in the folder it is kept for. [`crate::durable::write_file`] gives it up when a write there finds no
//! room, and takes it again when the old content is gone. So it is used for a moment only, and as often as needed.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{FallocateFlags, fallocate};

/// How many bytes are kept, beside what the files have already: the new content of a file, before the old one goes.
pub const BYTES: u64 = 1 << 20;

/// How many at a time, so that what is left of a full disk's room is taken too.
const STEP: u64 = 64 << 10;

/// No user's file has this name by chance: it is emptied when room is needed, in whatever folder a file is written to.
fn file(folder: &Path) -> PathBuf {
    folder.join("filial-reserve")
}

/// Keeps room for the files in `folder`, or as much as there is. For the program whose folder it is, when it starts. Blocking.
///
/// # Errors
/// The file cannot be made, or its file system cannot keep room. A full disk is not an error.
pub fn keep(folder: &Path) -> io::Result<()> {
    fill(&OpenOptions::new().create(true).truncate(false).write(true).open(file(folder))?)
}

/// Takes what is missing of a reserve, if the folder has one. What does not work now is tried at the next write. Blocking.
pub(crate) fn refill(folder: &Path) {
    let Ok(file) = OpenOptions::new().write(true).open(file(folder)) else { return };
    if let Err(error) = fill(&file) {
        tracing::warn!(folder = %folder.display(), %error, "the room for its files cannot be kept");
    }
}

fn fill(file: &File) -> io::Result<()> {
    let kept = file.metadata()?.len();
    for at in (kept..BYTES).step_by(usize::try_from(STEP).unwrap_or(usize::MAX)) {
        match fallocate(file, FallocateFlags::empty(), at, STEP.min(BYTES - at)) {
            Ok(()) => {}
            Err(rustix::io::Errno::NOSPC | rustix::io::Errno::DQUOT) => break,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Makes the room free. `false` if the folder has no reserve, or nothing is left of it. Blocking.
pub(crate) fn give_up(folder: &Path) -> bool {
    let give = || -> io::Result<bool> {
        let file = OpenOptions::new().write(true).open(file(folder))?;
        let some = file.metadata()?.len() > 0;
        file.set_len(0)?;
        // Some file systems give blocks back only with the transaction that they were freed in.
        file.sync_all()?;
        Ok(some)
    };
    give().unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use test_kit::SmallDisk;

    use super::*;
    use crate::durable::write_file;

    fn kept(folder: &Path) -> u64 {
        file(folder).metadata().map_or(0, |m| m.len())
    }

    #[test]
    fn on_a_full_disk_a_file_is_replaced_as_often_as_wanted() {
        let disk = SmallDisk::mount(8 << 20).unwrap();
        let path = disk.path().join("journal.json");
        keep(disk.path()).unwrap();
        write_file(&path, &[0; 600_000]).unwrap();
        disk.fill(0).unwrap();
        let contents = [vec![1; 300_000], vec![2; 5], vec![3; 600_000], vec![4; 900_000]];
        for content in contents.iter().cycle().take(12) {
            write_file(&path, content).unwrap();
            assert_eq!(&std::fs::read(&path).unwrap(), content);
        }
        disk.clear().unwrap();
        write_file(&path, b"new").unwrap();
        assert_eq!(kept(disk.path()), BYTES, "taken again once there is room");
    }

    #[test]
    fn without_a_reserve_or_with_too_small_a_one_the_old_content_stays() {
        let disk = SmallDisk::mount(8 << 20).unwrap();
        let path = disk.path().join("journal.json");
        write_file(&path, b"old").unwrap();
        disk.fill(0).unwrap();
        assert!(write_file(&path, &[1; 100_000]).is_err());
        disk.clear().unwrap();
        keep(disk.path()).unwrap();
        disk.fill(0).unwrap();
        assert!(write_file(&path, &vec![1; 2 << 20]).is_err());
        assert_eq!(std::fs::read(&path).unwrap(), b"old");
        let left: Vec<_> = std::fs::read_dir(disk.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert!(left.iter().all(|name| !name.to_string_lossy().ends_with(".tmp")), "{left:?}");
        assert!(write_file(&path, b"small").is_ok(), "what was given up for nothing was there for the next");
    }

    #[test]
    fn a_reserve_is_kept_on_a_full_disk_too_once_there_is_room() {
        let disk = SmallDisk::mount(8 << 20).unwrap();
        disk.fill(200 << 10).unwrap();
        keep(disk.path()).unwrap();
        assert!((STEP..BYTES).contains(&kept(disk.path())), "{}", kept(disk.path()));
        disk.clear().unwrap();
        write_file(&disk.path().join("any"), b"").unwrap();
        assert_eq!(kept(disk.path()), BYTES);
        let blocks = std::os::unix::fs::MetadataExt::blocks(&file(disk.path()).metadata().unwrap());
        assert!(blocks * 512 >= BYTES, "{blocks} blocks: it is not only a length");
    }

    #[test]
    fn a_file_of_somebody_else_is_not_taken_for_one() {
        let disk = SmallDisk::mount(8 << 20).unwrap();
        let theirs = disk.path().join("reserve");
        write_file(&theirs, &[7; 5000]).unwrap();
        disk.fill(0).unwrap();
        assert!(write_file(&disk.path().join("any"), &[1; 100_000]).is_err());
        assert_eq!(std::fs::read(&theirs).unwrap(), [7; 5000]);
    }

    #[test]
    fn a_folder_that_nobody_asked_for_gets_none() {
        let dir = tempfile::tempdir().unwrap();
        write_file(&dir.path().join("any"), b"x").unwrap();
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
