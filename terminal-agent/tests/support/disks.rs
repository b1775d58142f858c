//! Slots and boot block as files. Writes fail, and are lost in a power cut, as the test wants it.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use artifact::ImageDisk;
use bootslot::{BootError, BootSlots, BootState, GrubEnv, Stored, Verified};
use fleet_types::Slot;
use terminal_agent::ports::{Disks, PortError};

use super::fakes::told;
use super::world::{Port, World};

pub struct FakeBoot(pub Arc<World>, pub GrubEnv);

impl BootSlots for FakeBoot {
    fn read(&self) -> Result<BootState, BootError> {
        self.read_marked().map(|stored| stored.state)
    }

    fn write(&self, state: &BootState) -> Result<(), BootError> {
        self.0.kill.point();
        if self.0.fails(Port::BootWrite) {
            return Err(BootError::Write { path: self.1.path.clone(), source: told() });
        }
        self.1.write(state)?;
        self.0.kill.point();
        Ok(())
    }

    fn create(&self, state: &BootState) -> Result<(), BootError> {
        self.0.kill.point();
        self.1.create(state)
    }

    fn keeps_marks(&self) -> bool {
        true
    }

    fn read_marked(&self) -> Result<Stored, BootError> {
        self.0.kill.dead();
        if self.0.fails(Port::BootRead) {
            return Err(BootError::Read { path: self.1.path.clone(), source: told() });
        }
        self.1.read_marked()
    }

    fn mark(&self, default: Slot, verified: Verified) -> Result<(), BootError> {
        self.0.kill.point();
        if self.0.fails(Port::BootWrite) {
            return Err(BootError::Write { path: self.1.path.clone(), source: told() });
        }
        self.1.mark(default, verified)?;
        self.0.kill.point();
        Ok(())
    }
}

pub struct FakeDisks(pub Arc<World>);

impl Disks for FakeDisks {
    fn open(&self, slot: Slot) -> Result<Box<dyn ImageDisk>, PortError> {
        assert_ne!(slot, self.0.running(), "nothing ever opens the running slot for writing");
        self.0.kill.point();
        if self.0.fails(Port::DiskOpen) {
            return Err(PortError::with("the slot cannot be opened", told()));
        }
        let file = File::options().read(true).write(true).open(self.0.slot_path(slot)).unwrap();
        Ok(Box::new(FakeDisk { world: self.0.clone(), slot, file }))
    }

    fn open_running(&self, slot: Slot) -> Result<Box<dyn ImageDisk>, PortError> {
        assert_eq!(slot, self.0.running(), "another slot than the running one");
        self.0.kill.point();
        if self.0.fails(Port::DiskOpen) {
            return Err(PortError::with("the slot cannot be opened", told()));
        }
        let file = File::open(self.0.slot_path(slot)).unwrap();
        Ok(Box::new(FakeDisk { world: self.0.clone(), slot, file }))
    }

    fn length(&self, slot: Slot) -> Result<u64, PortError> {
        let real = std::fs::metadata(self.0.slot_path(slot)).unwrap().len();
        Ok(self.0.lock().fake_slot_length.unwrap_or(real))
    }
}

/// Writes stay in memory until they are synced, as in a drive's cache: a power cut loses them.
struct FakeDisk {
    world: Arc<World>,
    slot: Slot,
    file: File,
}

impl ImageDisk for FakeDisk {
    fn length(&mut self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.world.kill.point();
        assert!(offset + bytes.len() as u64 <= self.length()?, "a write past the end");
        let failing = self.world.fails(Port::DiskWrite);
        let written = if failing { &bytes[..bytes.len() / 3] } else { bytes };
        let mut world = self.world.lock();
        world.slot_writes += 1;
        world.unsynced.entry(self.slot).or_default().push_back((offset, written.to_vec()));
        drop(world);
        self.world.kill.point();
        if failing { Err(told()) } else { Ok(()) }
    }

    fn read_at(&mut self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        self.world.kill.dead();
        if self.world.fails(Port::DiskRead) {
            return Err(told());
        }
        assert!(self.world.lock().unsynced.get(&self.slot).is_none_or(|u| u.is_empty()), "read from a cache");
        self.file.read_exact_at(buf, offset)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.world.kill.point();
        let unsynced = self.world.lock().unsynced.remove(&self.slot).unwrap_or_default();
        // After a failed sync the kernel has thrown it all away.
        if self.world.fails(Port::DiskSync) {
            return Err(told());
        }
        for (offset, bytes) in unsynced {
            self.file.write_all_at(&bytes, offset)?;
        }
        self.world.kill.point();
        Ok(())
    }

    fn drop_caches(&mut self) -> io::Result<()> {
        self.sync()
    }
}
