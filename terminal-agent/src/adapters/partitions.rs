//! Which partition a slot is. Slots are named by labels, and a second disk may carry the same ones, as after a disk was
//! cloned or swapped: then a slot is none of them, and says which they are.

use std::fs;
use std::path::{Path, PathBuf};

use rustix::fs::{major, minor};

/// A partition as the kernel shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Partition {
    name: String,
    label: String,
    disk: String,
}

/// The kernel's view of the disks.
#[derive(Debug, Clone)]
pub struct Partitions {
    sys: PathBuf,
    /// The number of the device that the root is mounted from.
    root: Option<(u32, u32)>,
}

impl Partitions {
    /// This machine's.
    pub fn of_machine() -> Self {
        let root = rustix::fs::stat("/").ok().map(|stat| (major(stat.st_dev), minor(stat.st_dev)));
        Self { sys: "/sys".into(), root }
    }

    /// Refuses a slot's device whose label another partition has too, or that lies on another disk than the running root.
    ///
    /// What is no partition, such as a file or a logical volume, is named by nothing else.
    ///
    /// # Errors
    /// A sentence with the devices' names and what to do.
    pub fn check(&self, device: &Path) -> Result<(), String> {
        let all = self.all();
        let named = |name: &str| all.iter().find(|partition| partition.name == name);
        let resolved = fs::canonicalize(device).ok();
        let name = resolved.as_deref().and_then(Path::file_name).map(|name| name.to_string_lossy().into_owned());
        let Some(slot) = name.as_deref().and_then(named) else { return Ok(()) };
        judge(slot, &all, self.root_name().as_deref().and_then(named))
    }

    fn all(&self) -> Vec<Partition> {
        let entries = fs::read_dir(self.sys.join("class/block")).into_iter().flatten().filter_map(Result::ok);
        let mut all: Vec<Partition> = entries.filter_map(|entry| partition(&entry.path())).collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all
    }

    fn root_name(&self) -> Option<String> {
        let (major, minor) = self.root?;
        let device = fs::canonicalize(self.sys.join(format!("dev/block/{major}:{minor}"))).ok()?;
        Some(device.file_name()?.to_string_lossy().into_owned())
    }
}

/// Reads a partition with a label; `None` for whole disks and what has no label.
fn partition(entry: &Path) -> Option<Partition> {
    let place = fs::canonicalize(entry).ok().filter(|place| place.join("partition").exists())?;
    let facts = fs::read_to_string(place.join("uevent")).ok()?;
    let label = facts.lines().find_map(|line| line.strip_prefix("PARTNAME="))?.to_owned();
    let name = |path: &Path| Some(path.file_name()?.to_string_lossy().into_owned());
    Some(Partition { name: name(&place)?, label, disk: name(place.parent()?)? })
}

fn judge(slot: &Partition, all: &[Partition], root: Option<&Partition>) -> Result<(), String> {
    let same: Vec<&str> = all.iter().filter(|p| p.label == slot.label).map(|p| p.name.as_str()).collect();
    if same.len() > 1 {
        return Err(format!(
            "partitions {} all carry the label {}: take the disk away that does not belong to this machine, or change its labels",
            same.join(", "),
            slot.label
        ));
    }
    match root {
        Some(root) if root.disk != slot.disk => Err(format!(
            "partition {} with the label {} is not on disk {}, from which this machine runs: take away the disk that \
             does not belong to it",
            slot.name, slot.label, root.disk
        )),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    /// A machine with these partitions (name, label, disk) that runs from the first of them.
    fn machine(partitions: &[(&str, &str, &str)]) -> (tempfile::TempDir, Partitions) {
        let dir = tempfile::tempdir().unwrap();
        let sys = dir.path().join("sys");
        for folder in ["sys/class/block", "sys/dev/block", "dev/by-partlabel"] {
            fs::create_dir_all(dir.path().join(folder)).unwrap();
        }
        for (minor, (name, label, disk)) in partitions.iter().enumerate() {
            let place = sys.join("devices").join(disk).join(name);
            fs::create_dir_all(&place).unwrap();
            let uevent = format!("DEVNAME={name}\nDEVTYPE=partition\nPARTN=1\nPARTNAME={label}\n");
            for (file, text) in [("partition", "1\n"), ("uevent", &uevent)] {
                std::io::Write::write_all(&mut fs::File::create(place.join(file)).unwrap(), text.as_bytes()).unwrap();
            }
            symlink(&place, sys.join("class/block").join(name)).unwrap();
            symlink(&place, sys.join(format!("dev/block/8:{minor}"))).unwrap();
            fs::File::create(dir.path().join("dev").join(name)).unwrap();
            // As udev does: the last one has the link.
            let link = dir.path().join("dev/by-partlabel").join(label);
            let _ = fs::remove_file(&link);
            symlink(dir.path().join("dev").join(name), link).unwrap();
        }
        (dir, Partitions { sys, root: Some((8, 0)) })
    }

    #[test]
    fn two_disks_that_carry_the_same_labels_are_refused_with_their_devices_names() {
        let (dir, found) = machine(&[
            ("vda2", "slot-a", "vda"),
            ("vda3", "slot-b", "vda"),
            ("sdb2", "slot-a", "sdb"),
            ("sdb3", "slot-b", "sdb"),
        ]);
        for (label, names) in [("slot-a", "sdb2, vda2"), ("slot-b", "sdb3, vda3")] {
            let why = found.check(&dir.path().join("dev/by-partlabel").join(label)).unwrap_err();
            assert!(why.starts_with(&format!("partitions {names} all carry the label {label}:")), "{why}");
        }
    }

    #[test]
    fn a_slot_on_another_disk_than_the_one_that_runs_is_refused() {
        let (dir, found) = machine(&[("vda2", "slot-a", "vda"), ("sdb3", "slot-b", "sdb"), ("sdb4", "data", "sdb")]);
        assert_eq!(found.check(&dir.path().join("dev/by-partlabel/slot-a")), Ok(()));
        let why = found.check(&dir.path().join("dev/by-partlabel/slot-b")).unwrap_err();
        assert!(why.contains("partition sdb3 with the label slot-b is not on disk vda"), "{why}");
    }

    #[test]
    fn one_disk_and_what_is_no_partition_pass() {
        let (dir, found) = machine(&[("vda2", "slot-a", "vda"), ("vda3", "slot-b", "vda"), ("sdb1", "backup", "sdb")]);
        for label in ["slot-a", "slot-b"] {
            assert_eq!(found.check(&dir.path().join("dev/by-partlabel").join(label)), Ok(()));
        }
        let file = dir.path().join("slot.img");
        fs::File::create(&file).unwrap();
        assert_eq!(found.check(&file), Ok(()));
        assert_eq!(found.check(&dir.path().join("missing")), Ok(()), "opening it says so");
        // A root that is no partition, as in a container, names no disk.
        assert_eq!(Partitions { root: Some((0, 42)), ..found }.check(&dir.path().join("dev/vda3")), Ok(()));
    }
}
