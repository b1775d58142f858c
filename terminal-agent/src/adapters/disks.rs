//! The slots' partitions, or files that stand for them.

use std::fs::File;
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::Path;

use artifact::{FileDisk, ImageDisk};
use fleet_types::Slot;
use rustix::fs::{Advice, fadvise};

use super::partitions::Partitions;
use crate::config::agent::{SlotSetting, SlotSettings};
use crate::ports::{Disks, PortError};

/// The slots as the settings name them.
#[derive(Debug, Clone)]
pub struct SlotDisks {
    slots: SlotSettings,
    partitions: Partitions,
}

impl SlotDisks {
    /// These slots.
    pub fn new(slots: SlotSettings) -> Self {
        Self { slots, partitions: Partitions::of_machine() }
    }

    fn slot(&self, slot: Slot) -> &SlotSetting {
        match slot {
            Slot::A => &self.slots.a,
            Slot::B => &self.slots.b,
        }
    }
}

impl SlotDisks {
    /// A slot's device, if it is that slot of this machine and no other's.
    fn device(&self, slot: Slot) -> Result<&Path, PortError> {
        let device = &self.slot(slot).device;
        let of_another =
            |why| PortError::new(format!("slot {slot} ({}) cannot be identified: {why}", device.display()));
        self.partitions.check(device).map_err(of_another)?;
        Ok(device)
    }
}

impl Disks for SlotDisks {
    fn open(&self, slot: Slot) -> Result<Box<dyn ImageDisk>, PortError> {
        let disk = FileDisk::open(self.device(slot)?);
        let disk = disk.map_err(|e| PortError::with(format!("slot {slot} cannot be opened"), e))?;
        Ok(Box::new(disk))
    }

    fn open_running(&self, slot: Slot) -> Result<Box<dyn ImageDisk>, PortError> {
        let device = self.device(slot)?;
        let disk = File::open(device).map(RunningSlot);
        let disk =
            disk.map_err(|e| PortError::with(format!("slot {slot} ({}) cannot be read", device.display()), e))?;
        Ok(Box::new(disk))
    }

    // Not by FileDisk: it opens exclusively for writing, and the running slot is mounted.
    fn length(&self, slot: Slot) -> Result<u64, PortError> {
        let device = self.device(slot)?;
        let length = File::open(device).and_then(|mut f| f.seek(SeekFrom::End(0)));
        length.map_err(|e| {
            PortError::with(format!("cannot determine the length of slot {slot} ({})", device.display()), e)
        })
    }
}

/// The slot that runs, which is mounted: never written.
struct RunningSlot(File);

impl ImageDisk for RunningSlot {
    fn length(&mut self) -> io::Result<u64> {
        self.0.seek(SeekFrom::End(0))
    }

    fn write_at(&mut self, _: u64, _: &[u8]) -> io::Result<()> {
        Err(io::Error::new(io::ErrorKind::PermissionDenied, "the running slot is not written"))
    }

    fn read_at(&mut self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        self.0.read_exact_at(buf, offset)
    }

    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }

    // What the kernel still needs stays: this is about what was delivered, not about a write.
    fn drop_caches(&mut self) -> io::Result<()> {
        fadvise(&self.0, 0, None, Advice::DontNeed).map_err(io::Error::from)
    }
}
