//! Terminals that are whole machines: QEMU on the branch's LAN, with firmware, bootloader, kernel, and a disk.
//!
//! A virtual machine stands beside the terminals of [`crate::terminal`] and has nothing of theirs: the lab reaches its
//! agent only over the network, and knows what it does from its console and its disk. When it resets, QEMU ends
//! and is begun again; when QEMU is killed, its power is cut. Its disk is a copy, so that a lab can do what it likes.

mod console;
mod control;
mod disk;
mod events;
mod gpt;
mod medium;
mod options;
mod qemu;
mod start;
#[cfg(test)]
mod tests;

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use fleet_types::{Digest, Slot, TerminalRef, Version};

pub use console::VmBoot;
pub use options::VmOptions;
pub(crate) use options::check;
pub(crate) use start::TOOLS;

use crate::error::LabError;
use crate::exec::Tool;
use crate::machine::BootEnv;
use crate::sites::create_dir;

/// How many of the console's last lines explain a failure.
const TAIL: usize = 40;

/// A terminal that is a virtual machine.
#[derive(Debug)]
pub(crate) struct Vm {
    pub(crate) terminal: TerminalRef,
    /// Its branch's number.
    pub(crate) branch: usize,
    /// Its number among the branch's virtual machines.
    pub(crate) number: usize,
    /// The branch's: QEMU runs at the other end of the cable.
    pub(crate) namespace: String,
    pub(crate) address: Ipv4Addr,
    pub(crate) hardware_address: String,
    /// Its disks and its console.
    pub(crate) folder: PathBuf,
    /// A short path, as a socket's has to be.
    pub(crate) run: PathBuf,
    pub(crate) options: VmOptions,
    /// How often its writes were recorded.
    recorded: AtomicUsize,
    /// Whether its next start is recorded.
    recording: AtomicBool,
}

impl Vm {
    pub(crate) fn disk(&self) -> PathBuf {
        self.folder.join("disk.raw")
    }

    fn variables(&self) -> PathBuf {
        self.folder.join("firmware.fd")
    }

    fn provisioning(&self) -> PathBuf {
        self.folder.join("provisioning")
    }

    fn medium(&self) -> PathBuf {
        self.folder.join("provisioning.img")
    }

    pub(crate) fn console(&self) -> PathBuf {
        self.folder.join("console.log")
    }

    pub(crate) fn console_socket(&self) -> PathBuf {
        self.run.join("console.sock")
    }

    fn control_socket(&self) -> PathBuf {
        self.run.join("qmp.sock")
    }

    /// What QEMU told.
    fn events(&self) -> PathBuf {
        self.folder.join("events.jsonl")
    }

    fn write_log(&self, number: usize) -> PathBuf {
        self.folder.join(format!("writes-{number}.log"))
    }

    fn next_write_log(&self) -> PathBuf {
        self.write_log(self.recorded.fetch_add(1, Ordering::Relaxed) + 1)
    }

    /// Of its last start that was recorded.
    fn last_write_log(&self) -> Option<PathBuf> {
        Some(self.recorded.load(Ordering::Relaxed)).filter(|n| *n > 0).map(|n| self.write_log(n))
    }

    /// As it leaves the factory, with the stick that a person puts in.
    fn provision(&self, branch_url: &str, join_token: &Path, root: &Path) -> Result<(), LabError> {
        create_dir(&self.folder)?;
        create_dir(&self.run)?;
        let copy = |from: &Path, to: &Path| {
            Tool::new("cp").args(["--sparse=always", "--reflink=auto"]).args([from, to]).run().map(drop)
        };
        copy(&self.options.disk, &self.disk())?;
        disk::write_slot(&self.disk(), Slot::A, &self.options.image)?;
        copy(Path::new(options::VARIABLES), &self.variables())?;
        let own = medium::Particulars { terminal: &self.terminal, address: self.address, branch_url, join_token, root };
        medium::make(&self.provisioning(), &self.medium(), &own, &self.options)
    }

    /// Every boot that its console tells, oldest first.
    pub(crate) fn boots(&self) -> Result<Vec<VmBoot>, LabError> {
        Ok(console::Text::read(&self.console(), 0)?.boots())
    }

    /// SHA-256 of the first `length` bytes of a slot, read on the disk by the partition table. Blocking.
    pub(crate) fn slot_sha256(&self, slot: Slot, length: u64) -> Result<Digest, LabError> {
        disk::slot_sha256(&self.disk(), slot, length)
    }

    /// The slot that was booted last, and the version of the image in it.
    pub(crate) fn booted(&self) -> Result<Option<(Slot, Version)>, LabError> {
        let Some(boot) = self.boots()?.into_iter().rfind(|b| b.started) else { return Ok(None) };
        Ok(Some((boot.slot, disk::version(&self.disk(), boot.slot)?)))
    }

    pub(crate) fn boot_env(&self) -> Result<BootEnv, LabError> {
        disk::boot_env(&self.disk(), &self.run.join("grubenv"))
    }

    /// For a failure's account: its boots, where everything is, and what it said last.
    pub(crate) fn describe(&self) -> String {
        let boots = match self.boots() {
            Ok(boots) => boots.iter().map(|b| format!("  {} {b}\n", self.terminal)).collect(),
            Err(e) => format!("  {} does not tell its boots: {e}\n", self.terminal),
        };
        let console = self.console();
        format!(
            "{boots}  {}: disk, firmware and provisioning files in {}; its console {} ends:\n{}\n",
            self.terminal,
            self.folder.display(),
            console.display(),
            console::tail(&console, TAIL)
        )
    }

    /// Its disks are large; what explains a failure is not among them. Recorded writes are kept for replays.
    pub(crate) fn remove_bulk(&self) {
        for file in [self.disk(), self.variables(), self.medium()] {
            let _ = std::fs::remove_file(file);
        }
    }
}
