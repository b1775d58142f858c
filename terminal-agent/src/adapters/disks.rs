//! The slots' partitions, or files that stand for them.

use std::fs::File;
use std::io::{Seek, SeekFrom};

use artifact::{FileDisk, ImageDisk};
use fleet_types::Slot;

use crate::config::agent::{SlotSetting, SlotSettings};
use crate::ports::{Disks, PortError};

/// The slots as the settings name them.
#[derive(Debug, Clone)]
pub struct SlotDisks {
    slots: SlotSettings,
}

impl SlotDisks {
    /// These slots.
    pub fn new(slots: SlotSettings) -> Self {
        Self { slots }
    }

    fn slot(&self, slot: Slot) -> &SlotSetting {
        match slot {
            Slot::A => &self.slots.a,
            Slot::B => &self.slots.b,
        }
    }
}

impl Disks for SlotDisks {
    fn open(&self, slot: Slot) -> Result<Box<dyn ImageDisk>, PortError> {
        let disk = FileDisk::open(&self.slot(slot).device);
        let disk = disk.map_err(|e| PortError::with(format!("slot {slot} cannot be opened"), e))?;
        Ok(Box::new(disk))
    }

    // Not by FileDisk: it opens exclusively for writing, and the running slot is mounted.
    fn length(&self, slot: Slot) -> Result<u64, PortError> {
        let device = &self.slot(slot).device;
        let length = File::open(device).and_then(|mut f| f.seek(SeekFrom::End(0)));
        length.map_err(|e| {
            PortError::with(format!("cannot determine the length of slot {slot} ({})", device.display()), e)
        })
    }
}
