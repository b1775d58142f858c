//! Where a disk's partitions lie, by its partition table (UEFI specification 2.10, chapter 5.3).

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::error::LabError;

/// A sector, as every disk of the lab has it.
const SECTOR: u64 = 512;
/// Most entries that are looked at; a usual table has 128.
const MAX_ENTRIES: u32 = 256;

/// A partition, in bytes from the beginning of the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Partition {
    pub(crate) offset: u64,
    pub(crate) length: u64,
}

/// The partition with this name.
///
/// # Errors
/// The disk cannot be read, has no such table, or no such partition.
pub(crate) fn partition(disk: &Path, name: &str) -> Result<Partition, LabError> {
    let file = File::open(disk).map_err(LabError::file("open", disk))?;
    let wrong = |why: String| LabError::Content { path: disk.to_owned(), why };
    let mut header = [0; 92];
    file.read_exact_at(&mut header, SECTOR).map_err(LabError::file("read", disk))?;
    if &header[..8] != b"EFI PART" {
        return Err(wrong("it has no GPT: build it again with `make image`".into()));
    }
    let (first, count, size) = (u64_at(&header, 72), u32_at(&header, 80), u32_at(&header, 84));
    if count > MAX_ENTRIES || !(128..=512).contains(&size) {
        return Err(wrong(format!("its GPT has {count} entries of {size} bytes: build it again with `make image`")));
    }
    let begin = first.checked_mul(SECTOR).ok_or_else(|| wrong("its GPT lies nowhere".into()))?;
    let mut names = Vec::new();
    for number in 0..u64::from(count) {
        let mut entry = [0; 128];
        let at = begin.saturating_add(number * u64::from(size));
        file.read_exact_at(&mut entry, at).map_err(LabError::file("read", disk))?;
        // An entry without a type is not used.
        if entry[..16] == [0; 16] {
            continue;
        }
        let (first, last) = (u64_at(&entry, 32), u64_at(&entry, 40));
        let units: Vec<u16> = entry[56..].chunks_exact(2).map(|c| u16::from_le_bytes([c[0], c[1]])).collect();
        let found = String::from_utf16_lossy(&units).trim_end_matches('\0').to_owned();
        if found == name {
            let length = last.checked_sub(first).and_then(|n| n.checked_add(1)?.checked_mul(SECTOR));
            let place = first.checked_mul(SECTOR).zip(length);
            let (offset, length) = place.ok_or_else(|| wrong(format!("its partition {name} has no sensible place")))?;
            return Ok(Partition { offset, length });
        }
        names.push(found);
    }
    Err(wrong(format!("it has no partition {name}, but {}", names.join(", "))))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut eight = [0; 8];
    eight.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(eight)
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut four = [0; 4];
    four.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(four)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A table of two partitions, the second's entry not in use between them.
    fn disk(folder: &Path) -> std::path::PathBuf {
        let mut bytes = vec![0u8; 64 * 512];
        bytes[512..520].copy_from_slice(b"EFI PART");
        bytes[512 + 72..512 + 80].copy_from_slice(&2u64.to_le_bytes());
        bytes[512 + 80..512 + 84].copy_from_slice(&4u32.to_le_bytes());
        bytes[512 + 84..512 + 88].copy_from_slice(&128u32.to_le_bytes());
        for (number, name, first, last) in [(0, "esp", 40u64, 47u64), (2, "slot-a", 48, 63)] {
            let entry = &mut bytes[1024 + number * 128..1024 + (number + 1) * 128];
            entry[0] = 1;
            entry[32..40].copy_from_slice(&first.to_le_bytes());
            entry[40..48].copy_from_slice(&last.to_le_bytes());
            for (at, unit) in name.encode_utf16().enumerate() {
                entry[56 + 2 * at..58 + 2 * at].copy_from_slice(&unit.to_le_bytes());
            }
        }
        let path = folder.join("disk");
        crate::recipe::write(&path, bytes).unwrap();
        path
    }

    #[test]
    fn partitions_are_found_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let disk = disk(folder.path());
        assert_eq!(partition(&disk, "esp").unwrap(), Partition { offset: 40 * 512, length: 8 * 512 });
        assert_eq!(partition(&disk, "slot-a").unwrap(), Partition { offset: 48 * 512, length: 16 * 512 });
        let said = partition(&disk, "slot-b").unwrap_err().to_string();
        assert!(said.contains("no partition slot-b, but esp, slot-a"), "{said}");
        crate::machine::flip_byte(&disk, 512).unwrap();
        assert!(partition(&disk, "esp").unwrap_err().to_string().contains("no GPT"));
    }
}
