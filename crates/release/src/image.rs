//! Recognises file systems by their first bytes, with the length that they state.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Length of a payload's head that is inspected, in bytes.
///
/// Covers the superblocks of all three.
pub(crate) const HEAD_LEN: usize = 4096;

/// A file system that can be in a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FileSystem {
    /// squashfs, version 4.
    Squashfs,
    /// ext4 (and its ancestors, which share its superblock).
    Ext4,
    /// erofs.
    Erofs,
}

impl FileSystem {
    /// The name as text.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Squashfs => "squashfs",
            Self::Ext4 => "ext4",
            Self::Erofs => "erofs",
        }
    }
}

impl fmt::Display for FileSystem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The content of a superblock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// Which file system.
    pub file_system: FileSystem,
    /// The stated size in bytes.
    pub bytes: u64,
}

impl Image {
    /// Recognises the first bytes of a payload; `None` if no known file system starts so.
    pub fn recognise(head: &[u8]) -> Option<Image> {
        squashfs(head).or_else(|| ext4(head)).or_else(|| erofs(head))
    }
}

fn field<const N: usize>(head: &[u8], at: usize) -> Option<[u8; N]> {
    head.get(at..at + N)?.try_into().ok()
}

fn u32_at(head: &[u8], at: usize) -> Option<u32> {
    field(head, at).map(u32::from_le_bytes)
}

/// `struct squashfs_super_block`: magic at 0, version at 28, `bytes_used` at 40.
fn squashfs(head: &[u8]) -> Option<Image> {
    if head.get(..4)? != b"hsqs" || field(head, 28).map(u16::from_le_bytes)? != 4 {
        return None;
    }
    let bytes = field(head, 40).map(u64::from_le_bytes)?;
    Some(Image { file_system: FileSystem::Squashfs, bytes })
}

/// `struct ext4_super_block`, 1,024 bytes in.
///
/// Block count at 4 (high half at 336), block size at 24, magic at 56, incompatible features at 96.
fn ext4(head: &[u8]) -> Option<Image> {
    const INCOMPAT_64BIT: u32 = 0x80;
    let sb = head.get(1024..)?;
    if field(sb, 56).map(u16::from_le_bytes)? != 0xEF53 {
        return None;
    }
    let shift = 10u32.checked_add(u32_at(sb, 24)?).filter(|s| *s <= 16)?;
    let high = if u32_at(sb, 96)? & INCOMPAT_64BIT != 0 { u32_at(sb, 336)? } else { 0 };
    let blocks = u64::from(high) << 32 | u64::from(u32_at(sb, 4)?);
    // A count that overflows is a lie in any case; the largest number keeps it too large for every payload.
    let bytes = blocks.saturating_mul(1 << shift);
    Some(Image { file_system: FileSystem::Ext4, bytes })
}

/// `struct erofs_super_block`, 1,024 bytes in.
///
/// Magic at 0, log2 of the block size at 12, block count at 36.
fn erofs(head: &[u8]) -> Option<Image> {
    let sb = head.get(1024..)?;
    if u32_at(sb, 0)? != 0xE0F5_E1E2 {
        return None;
    }
    let shift = u32::from(*sb.get(12)?);
    let bytes = u64::from(u32_at(sb, 36)?).checked_shl(shift).filter(|_| (9..=16).contains(&shift))?;
    Some(Image { file_system: FileSystem::Erofs, bytes })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn put(head: &mut [u8], at: usize, bytes: &[u8]) {
        head[at..at + bytes.len()].copy_from_slice(bytes);
    }

    #[test]
    fn each_file_system_is_known_by_its_superblock() {
        let mut s = vec![0; HEAD_LEN];
        put(&mut s, 0, b"hsqs");
        put(&mut s, 28, &4u16.to_le_bytes());
        put(&mut s, 40, &5_000_000_000u64.to_le_bytes());
        assert_eq!(Image::recognise(&s), Some(Image { file_system: FileSystem::Squashfs, bytes: 5_000_000_000 }));

        let mut e = vec![0; HEAD_LEN];
        put(&mut e, 1024 + 56, &0xEF53u16.to_le_bytes());
        put(&mut e, 1024 + 4, &1000u32.to_le_bytes());
        put(&mut e, 1024 + 24, &2u32.to_le_bytes());
        put(&mut e, 1024 + 336, &1u32.to_le_bytes());
        assert_eq!(Image::recognise(&e).map(|i| i.bytes), Some(4_096_000), "the high half counts only with 64bit");
        put(&mut e, 1024 + 96, &0x80u32.to_le_bytes());
        assert_eq!(Image::recognise(&e).map(|i| i.bytes), Some(((1 << 32) + 1000) * 4096));

        let mut r = vec![0; HEAD_LEN];
        put(&mut r, 1024, &0xE0F5_E1E2u32.to_le_bytes());
        put(&mut r, 1024 + 12, &[12]);
        put(&mut r, 1024 + 36, &7u32.to_le_bytes());
        assert_eq!(Image::recognise(&r), Some(Image { file_system: FileSystem::Erofs, bytes: 7 * 4096 }));
        put(&mut r, 1024 + 12, &[60]);
        assert_eq!(Image::recognise(&r), None, "an impossible block size");
    }

    #[test]
    fn a_head_that_is_too_short_is_not_an_image() {
        assert_eq!(Image::recognise(b"hsqs"), None);
        assert_eq!(Image::recognise(&[0; HEAD_LEN]), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_looked_at_without_panic(
            mut head in proptest::collection::vec(any::<u8>(), 0..2000),
            which in 0..3usize,
        ) {
            let (at, magic): (usize, &[u8]) =
                [(0, &b"hsqs"[..]), (1080, &[0x53, 0xEF][..]), (1024, &[0xE2, 0xE1, 0xF5, 0xE0][..])][which];
            if head.len() >= at + magic.len() {
                put(&mut head, at, magic);
            }
            let _ = Image::recognise(&head);
        }
    }
}
