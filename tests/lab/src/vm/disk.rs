//! A virtual machine's disk, read from outside: what is in a slot, and what the bootloader will do.
//!
//! Read while the machine runs, it is what the guest has written through so far.

use std::path::Path;

use fleet_types::{Digest, Slot, Version};

use crate::error::LabError;
use crate::exec::Tool;
use crate::images::image_version_at;
use crate::machine::{BootEnv, read_block, sha256_at};

use super::gpt::partition;

/// The environment block on the EFI system partition.
const BLOCK: &str = "::/filial/grubenv";

fn partition_name(slot: Slot) -> &'static str {
    match slot {
        Slot::A => "slot-a",
        Slot::B => "slot-b",
    }
}

/// Writes an image to a slot, as the workshop does.
pub(crate) fn write_slot(disk: &Path, slot: Slot, image: &Path) -> Result<(), LabError> {
    let place = partition(disk, partition_name(slot))?;
    let length = image.metadata().map_err(LabError::file("look at", image))?.len();
    if length > place.length {
        let why = format!("slot {slot} has {} bytes, and {} has {length}", place.length, image.display());
        return Err(LabError::Content { path: disk.to_owned(), why });
    }
    let to = format!("of={}", disk.display());
    let at = format!("seek={}", place.offset);
    let from = format!("if={}", image.display());
    Tool::new("dd").args([&from, &to, &at]).args(["oflag=seek_bytes", "conv=notrunc", "bs=1M"]).run().map(drop)
}

/// SHA-256 of the first `length` bytes of a slot.
pub(crate) fn slot_sha256(disk: &Path, slot: Slot, length: u64) -> Result<Digest, LabError> {
    let place = partition(disk, partition_name(slot))?;
    if length > place.length {
        let why = format!("slot {slot} has {} bytes, not {length}", place.length);
        return Err(LabError::Content { path: disk.to_owned(), why });
    }
    sha256_at(disk, place.offset, length)
}

/// `IMAGE_VERSION` of the image in a slot.
pub(crate) fn version(disk: &Path, slot: Slot) -> Result<Version, LabError> {
    image_version_at(disk, partition(disk, partition_name(slot))?.offset)
}

/// The boot environment, copied to `scratch` and judged by grub-editenv.
pub(crate) fn boot_env(disk: &Path, scratch: &Path) -> Result<BootEnv, LabError> {
    let offset = partition(disk, "esp")?.offset;
    let image = format!("{}@@{offset}", disk.display());
    // The disk has no meaningful heads and cylinders: mtools must not check them.
    let copy = Tool::new("mcopy").env("MTOOLS_SKIP_CHECK", "1").args(["-n", "-o", "-i", &image, BLOCK]);
    copy.arg(scratch).run()?;
    read_block(scratch)
}
