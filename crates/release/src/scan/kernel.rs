//! Looks, in passing, whether a squashfs image holds a kernel and the sums that the boot script checks it by.
//!
//! The names of files lie in the directory table behind the files' content, in clear where metadata is not compressed. Nothing is
//! unpacked: an entry is a type, a length and a name.

/// A directory's entry of a plain file (`struct squashfs_dir_entry`: type 2, length less one, name).
const KERNEL: &[u8] = b"\x02\0\x06\0vmlinuz";
const SUMS: &[u8] = b"\x02\0\x09\0sha256sums";

/// Set in the superblock's flags where inodes and directories are not compressed.
const UNCOMPRESSED: u16 = 1;

/// What was seen of an image so far.
#[derive(Debug, Default)]
pub(super) struct KernelLook {
    /// Where the directory table begins; `None` if its names cannot be read.
    table: Option<u64>,
    at: u64,
    /// The end of what was read, in which an entry may have begun.
    rest: Vec<u8>,
    kernel: bool,
    sums: bool,
}

impl KernelLook {
    /// Takes the next bytes; `head` holds the image's first ones, these included.
    pub(super) fn take(&mut self, head: &[u8], part: &[u8]) {
        if self.at == 0 {
            self.table = directory_table(head);
        }
        let begin = self.at;
        self.at += part.len() as u64;
        let Some(table) = self.table.filter(|table| self.at > *table) else { return };
        // It fits: it is at most the part's length.
        let skipped = usize::try_from(table.saturating_sub(begin)).unwrap_or(part.len());
        self.rest.extend_from_slice(part.get(skipped..).unwrap_or_default());
        let holds = |entry: &[u8]| self.rest.windows(entry.len()).any(|bytes| bytes == entry);
        let (kernel, sums) = (holds(KERNEL), holds(SUMS));
        self.kernel |= kernel;
        self.sums |= sums;
        let keep = self.rest.len().min(SUMS.len() - 1);
        self.rest.drain(..self.rest.len() - keep);
    }

    /// Returns whether the image has a kernel and no sums of it.
    pub(super) const fn is_unchecked(&self) -> bool {
        self.kernel && !self.sums
    }
}

/// `struct squashfs_super_block`: magic at 0, flags at 24, the directory table's place at 72.
fn directory_table(head: &[u8]) -> Option<u64> {
    let flags = u16::from_le_bytes(head.get(24..26)?.try_into().ok()?);
    let table = u64::from_le_bytes(head.get(72..80)?.try_into().ok()?);
    (head.starts_with(b"hsqs") && flags & UNCOMPRESSED != 0).then_some(table)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An image with these bytes in its directory table, behind content that names the same.
    fn image(flags: u16, entries: &[&[u8]]) -> Vec<u8> {
        let mut image = vec![0; 96];
        image[..4].copy_from_slice(b"hsqs");
        image[24..26].copy_from_slice(&flags.to_le_bytes());
        image[72..80].copy_from_slice(&200u64.to_le_bytes());
        image.extend_from_slice(KERNEL);
        image.resize(200, 7);
        entries.iter().for_each(|entry| image.extend_from_slice(entry));
        image
    }

    fn is_unchecked(image: &[u8], step: usize) -> bool {
        let mut look = KernelLook::default();
        for part in image.chunks(step) {
            look.take(&image[..image.len().min(96)], part);
        }
        look.is_unchecked()
    }

    #[test]
    fn a_kernel_without_sums_is_seen_however_the_image_arrives() {
        for step in [1, 7, 13, 64, 4096] {
            assert!(is_unchecked(&image(UNCOMPRESSED, &[b"xx", KERNEL, b"yy"]), step), "{step}");
            assert!(!is_unchecked(&image(UNCOMPRESSED, &[SUMS, b"yy", KERNEL]), step), "{step}");
            assert!(!is_unchecked(&image(UNCOMPRESSED, &[b"no kernel but in content"]), step), "{step}");
            assert!(!is_unchecked(&image(0, &[KERNEL]), step), "compressed: nothing is known");
        }
        assert!(!is_unchecked(b"hsqs", 1));
    }
}
