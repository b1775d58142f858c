//! What tests do with a virtual machine, and how they look at it.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use fleet_types::{Digest, Slot, TerminalRef, Version};

use crate::error::LabError;
use crate::exec::blocking;
use crate::lab::Lab;
use crate::machine::BootEnv;
use crate::part::Part;
use crate::process::PartState;

use super::console::{Text, VmBoot, tail};
use super::{Vm, disk, events, gpt, qemu};

impl Lab {
    /// The terminals that are virtual machines.
    pub fn vms(&self) -> Vec<TerminalRef> {
        self.vms.keys().cloned().collect()
    }

    pub(crate) fn vm(&self, terminal: &TerminalRef) -> Result<&Arc<Vm>, LabError> {
        self.vms.get(terminal).ok_or_else(|| LabError::NoSuchPart(Part::machine(terminal).to_string()))
    }

    /// Cuts a virtual machine's power: QEMU is killed, and nothing of the guest gets to say goodbye. It stays off until
    /// [`Lab::power_on`]. What the guest wrote without a flush may survive: the host keeps its cache.
    ///
    /// # Errors
    /// The virtual machine does not exist.
    pub async fn power_cut(&self, terminal: &TerminalRef) -> Result<(), LabError> {
        self.vm(terminal)?;
        self.processes.kill(&Part::machine(terminal)).await
    }

    /// Switches a virtual machine on again, with the disk that it has. Nothing happens if it is on.
    ///
    /// # Errors
    /// The virtual machine does not exist, or QEMU cannot be started.
    pub fn power_on(&self, terminal: &TerminalRef) -> Result<(), LabError> {
        let (vm, part) = (self.vm(terminal)?, Part::machine(terminal));
        if matches!(self.processes.state(&part)?, PartState::Running | PartState::Stopped) {
            return Ok(());
        }
        self.processes.start(&part, qemu::recipe(vm)?)
    }

    /// The file with everything that a virtual machine said on its console, over all its boots.
    ///
    /// # Errors
    /// The virtual machine does not exist.
    pub fn console(&self, terminal: &TerminalRef) -> Result<PathBuf, LabError> {
        Ok(self.vm(terminal)?.console())
    }

    /// The socket at which one can type on a virtual machine's console; one at a time.
    ///
    /// # Errors
    /// The virtual machine does not exist.
    pub fn console_socket(&self, terminal: &TerminalRef) -> Result<PathBuf, LabError> {
        Ok(self.vm(terminal)?.console_socket())
    }

    /// How much a virtual machine has said so far, in bytes: where a wait for what comes next begins.
    ///
    /// # Errors
    /// The virtual machine does not exist.
    pub fn console_length(&self, terminal: &TerminalRef) -> Result<u64, LabError> {
        Ok(self.vm(terminal)?.console().metadata().map_or(0, |m| m.len()))
    }

    /// The last lines of a virtual machine's console, without control sequences.
    ///
    /// # Errors
    /// The virtual machine does not exist.
    pub fn console_tail(&self, terminal: &TerminalRef, lines: usize) -> Result<String, LabError> {
        Ok(tail(&self.vm(terminal)?.console(), lines))
    }

    /// Whether a virtual machine said something from the position `since` on, and where in the console that ends.
    ///
    /// # Errors
    /// The virtual machine does not exist, or its console cannot be read.
    pub fn console_says(&self, terminal: &TerminalRef, pattern: &str, since: u64) -> Result<Option<u64>, LabError> {
        Ok(Text::read(&self.vm(terminal)?.console(), since)?.after(pattern))
    }

    /// Waits until a virtual machine says something, from the position `since` on; returns where that ends. The
    /// pattern is plain text within a line.
    ///
    /// # Errors
    /// As [`Lab::wait`].
    pub async fn console_wait(
        &self,
        terminal: &TerminalRef,
        pattern: &str,
        since: u64,
        deadline: Duration,
    ) -> Result<u64, LabError> {
        self.vm(terminal)?;
        let what = format!("{terminal} to say {pattern:?} on its console");
        self.wait(&what, deadline, async || self.console_says(terminal, pattern, since)).await
    }

    /// What QEMU told of a virtual machine so far, oldest first, as QMP has it: `SHUTDOWN`, which is a reset when
    /// the guest asked for one, `WATCHDOG` …
    ///
    /// # Errors
    /// The virtual machine does not exist, or the events cannot be read.
    pub fn vm_events(&self, terminal: &TerminalRef) -> Result<Vec<serde_json::Value>, LabError> {
        events::read(&self.vm(terminal)?.events())
    }

    /// Every boot of a virtual machine so far, as its bootloader announced it, oldest first.
    ///
    /// # Errors
    /// The virtual machine does not exist, or its console cannot be read.
    pub fn vm_boots(&self, terminal: &TerminalRef) -> Result<Vec<VmBoot>, LabError> {
        self.vm(terminal)?.boots()
    }

    /// Waits until a virtual machine has booted more than `seen` times; returns all its boots.
    ///
    /// # Errors
    /// As [`Lab::wait`].
    pub async fn vm_boot_wait(
        &self,
        terminal: &TerminalRef,
        seen: usize,
        deadline: Duration,
    ) -> Result<Vec<VmBoot>, LabError> {
        self.vm(terminal)?;
        let what = format!("{terminal} to boot after its {seen} boots");
        self.wait(&what, deadline, async || Ok(Some(self.vm_boots(terminal)?).filter(|boots| boots.len() > seen))).await
    }

    /// SHA-256 of the first `length` bytes of a virtual machine's slot, read on its disk by the partition table. While
    /// the machine runs, it is of what the guest has written through.
    ///
    /// # Errors
    /// The virtual machine does not exist, or the slot is shorter or cannot be read.
    pub async fn vm_slot_sha256(&self, terminal: &TerminalRef, slot: Slot, length: u64) -> Result<Digest, LabError> {
        let vm = Arc::clone(self.vm(terminal)?);
        blocking("hash a slot", move || vm.slot_sha256(slot, length)).await
    }

    /// The version of the image in a virtual machine's slot, read on its disk.
    ///
    /// # Errors
    /// The virtual machine does not exist, or no image in the slot.
    pub fn vm_slot_version(&self, terminal: &TerminalRef, slot: Slot) -> Result<Version, LabError> {
        disk::version(&self.vm(terminal)?.disk(), slot)
    }

    /// A virtual machine's boot environment, read on its EFI system partition and judged by grub-editenv.
    ///
    /// # Errors
    /// The virtual machine does not exist, or its block is not usable.
    pub fn vm_boot_env(&self, terminal: &TerminalRef) -> Result<BootEnv, LabError> {
        self.vm(terminal)?.boot_env()
    }

    /// Whether a virtual machine's writes are recorded, from its next start on ([`crate::VmOptions::record_writes`]).
    ///
    /// # Errors
    /// The virtual machine does not exist.
    pub fn vm_record_writes(&self, terminal: &TerminalRef, record: bool) -> Result<(), LabError> {
        self.vm(terminal)?.recording.store(record, Ordering::Relaxed);
        Ok(())
    }

    /// The log of the writes of a virtual machine's last start that was recorded. It is whole once the machine was
    /// ended by [`Lab::end`].
    ///
    /// # Errors
    /// The virtual machine does not exist, or it was never recorded.
    pub fn vm_write_log(&self, terminal: &TerminalRef) -> Result<PathBuf, LabError> {
        let never =
            || LabError::Options(format!("the writes of {terminal} were not recorded: start it with `record_writes`"));
        self.vm(terminal)?.last_write_log().ok_or_else(never)
    }

    /// Where a partition of a virtual machine's disk lies, in bytes: `esp`, `slot-a`, `slot-b`, `data`.
    ///
    /// # Errors
    /// The virtual machine does not exist, or no such partition.
    pub fn vm_partition(&self, terminal: &TerminalRef, name: &str) -> Result<Range<u64>, LabError> {
        let place = gpt::partition(&self.vm(terminal)?.disk(), name)?;
        Ok(place.offset..place.offset + place.length)
    }

    /// The file that is a virtual machine's disk, raw: partitions by its GPT.
    ///
    /// # Errors
    /// The virtual machine does not exist.
    pub fn vm_disk(&self, terminal: &TerminalRef) -> Result<PathBuf, LabError> {
        Ok(self.vm(terminal)?.disk())
    }
}
