//! What the lab can do to its parts, by name.

use std::path::Path;

use fleet_types::{BranchName, TerminalRef};
use rustix::process::Signal;

use crate::error::LabError;
use crate::exec::{Tool, blocking};
use crate::lab::Lab;
use crate::machine::flip_byte;
use crate::net::Net;
use crate::part::{Part, Place, Role};
use crate::process::PATIENCE;
use crate::rate::Rate;
use crate::volumes;

/// A machine on a branch's LAN that does not belong to the fleet.
#[derive(Debug, Clone)]
pub struct Stranger {
    /// The network namespace.
    pub namespace: String,
    /// The address on the branch's LAN.
    pub address: std::net::Ipv4Addr,
}

impl Stranger {
    /// Runs a program to its end in the stranger's namespace, in `folder`; returns what it printed.
    ///
    /// # Errors
    /// It cannot be started or ends badly.
    pub async fn run(&self, folder: &Path, program: &str, args: &[&str]) -> Result<String, LabError> {
        Tool::in_namespace(&self.namespace, program).args(args).current_dir(folder).run_async().await
    }
}

impl Lab {
    /// Kills a part (SIGKILL) and what it started; it stays down until [`Lab::start_part`].
    ///
    /// # Errors
    /// The part does not exist.
    pub async fn kill(&self, part: &Part) -> Result<(), LabError> {
        self.processes.kill(part).await
    }

    /// Asks a part to end, and kills it if it does not; it stays down until [`Lab::start_part`].
    ///
    /// # Errors
    /// The part does not exist.
    pub async fn end(&self, part: &Part) -> Result<(), LabError> {
        self.processes.end(part, PATIENCE).await
    }

    /// Starts a part that is down, with the configuration it had. Nothing happens if it runs.
    ///
    /// # Errors
    /// The part does not exist, or it cannot be started.
    pub fn start_part(&self, part: &Part) -> Result<(), LabError> {
        if let (Role::Machine, Place::Terminal(terminal)) = (part.role, &part.place) {
            return self.power_on(terminal);
        }
        self.processes.start_again(part)
    }

    /// Ends a part in order and starts it again.
    ///
    /// # Errors
    /// As [`Lab::end`] and [`Lab::start_part`].
    pub async fn restart(&self, part: &Part) -> Result<(), LabError> {
        self.end(part).await?;
        self.start_part(part)
    }

    /// Lets a part stand still (SIGSTOP).
    ///
    /// # Errors
    /// The part does not exist, or it does not run.
    pub fn pause(&self, part: &Part) -> Result<(), LabError> {
        self.processes.stop(part, true)
    }

    /// Lets a part go on (SIGCONT).
    ///
    /// # Errors
    /// The part does not exist, or it does not run.
    pub fn resume(&self, part: &Part) -> Result<(), LabError> {
        self.processes.stop(part, false)
    }

    /// Sends a part a signal.
    ///
    /// # Errors
    /// The part does not exist, or it does not run.
    pub fn signal(&self, part: &Part, signal: Signal) -> Result<(), LabError> {
        self.processes.signal(part, signal)
    }

    /// Pulls a terminal's plug and plugs it in again: no process gets to say goodbye, and the bootloader runs.
    ///
    /// # Errors
    /// There is no such terminal, or it cannot be started.
    pub async fn power_cycle(&self, terminal: &TerminalRef) -> Result<(), LabError> {
        if self.vms.contains_key(terminal) {
            self.power_cut(terminal).await?;
            return self.power_on(terminal);
        }
        self.terminal(terminal)?.restart(&self.processes, false, self.options.listener.as_ref()).await
    }

    /// Cuts a branch's WAN link.
    ///
    /// # Errors
    /// The branch does not exist.
    pub fn cut_wan(&self, branch: &BranchName) -> Result<(), LabError> {
        self.net.plug_wan(self.site(branch)?.number, false)
    }

    /// Restores a branch's WAN link, at the rate that the lab began with.
    ///
    /// # Errors
    /// The branch does not exist.
    pub fn restore_wan(&self, branch: &BranchName) -> Result<(), LabError> {
        self.net.set_wan_rate(self.site(branch)?.number, self.options.wan)?;
        self.net.plug_wan(self.site(branch)?.number, true)
    }

    /// Sets the rate of a branch's WAN link, both ways.
    ///
    /// # Errors
    /// The branch does not exist.
    pub fn set_wan_rate(&self, branch: &BranchName, rate: Rate) -> Result<(), LabError> {
        self.net.set_wan_rate(self.site(branch)?.number, rate)
    }

    /// Sets the rate at which a branch server sends into its LAN.
    ///
    /// # Errors
    /// The branch does not exist.
    pub fn set_lan_rate(&self, branch: &BranchName, rate: Rate) -> Result<(), LabError> {
        self.net.set_lan_rate(self.site(branch)?.number, rate)
    }

    /// Cuts a terminal's link.
    ///
    /// # Errors
    /// There is no such terminal.
    pub fn cut_terminal(&self, terminal: &TerminalRef) -> Result<(), LabError> {
        self.plug_terminal(terminal, false)
    }

    /// Restores a terminal's link.
    ///
    /// # Errors
    /// There is no such terminal.
    pub fn restore_terminal(&self, terminal: &TerminalRef) -> Result<(), LabError> {
        self.plug_terminal(terminal, true)
    }

    fn plug_terminal(&self, terminal: &TerminalRef, plugged: bool) -> Result<(), LabError> {
        if let Some(vm) = self.vms.get(terminal) {
            return self.net.plug_vm(vm.branch, vm.number, plugged);
        }
        let t = self.terminal(terminal)?;
        self.net.plug_terminal(t.branch, t.number, plugged)
    }

    /// The file system of a place's data, or of its database.
    fn volume(&self, part: &Part) -> Result<std::path::PathBuf, LabError> {
        let unlimited = || LabError::Options("this lab's disks cannot be filled: start it with `disks`".into());
        self.options.disks.ok_or_else(unlimited)?;
        let site = match &part.place {
            Place::Terminal(t) => return Ok(self.terminal(t)?.machine.data()),
            Place::HeadOffice => &self.head_office,
            Place::Branch(b) => self.site(b)?,
        };
        Ok(if part.role == Role::Postgres { site.database() } else { site.disk() })
    }

    /// Takes all the room on a place's disk, or on its database's volume. A database may end of that.
    ///
    /// # Errors
    /// The place does not exist, or the lab's disks are not limited.
    pub fn fill_disk(&self, part: &Part) -> Result<(), LabError> {
        let volume = self.volume(part)?;
        if part.role == Role::Postgres {
            self.processes.excuse(part, true)?;
        }
        volumes::fill(&volume)
    }

    /// Gives the room back, and starts the database again if it ended, as its service manager does.
    ///
    /// # Errors
    /// The place does not exist, or the lab's disks are not limited.
    pub fn free_disk(&self, part: &Part) -> Result<(), LabError> {
        volumes::free(&self.volume(part)?)?;
        if part.role == Role::Postgres {
            self.processes.excuse(part, false)?;
            self.start_part(part)?;
        }
        Ok(())
    }

    /// Sets the clock of a place so many seconds ahead or behind, while its programs run.
    ///
    /// # Errors
    /// The lab's clocks cannot be set.
    pub fn set_clock(&self, place: &Place, seconds: i64) -> Result<(), LabError> {
        self.namespace(place)?;
        self.processes.clocks()?.set(place, seconds)
    }

    /// Lets a place's transmission-daemon forget every torrent, as when its folder is lost; what it fetched stays.
    ///
    /// # Errors
    /// The place does not exist, or its daemon cannot be started again.
    pub async fn empty_daemon(&self, place: &Place) -> Result<(), LabError> {
        let part = place.part(Role::Transmission);
        self.kill(&part).await?;
        let disk = match place {
            Place::Terminal(t) => self.terminal(t)?.machine.data(),
            Place::HeadOffice => self.head_office.disk(),
            Place::Branch(b) => self.site(b)?.disk(),
        };
        for folder in ["torrents", "resume"] {
            let _ = std::fs::remove_dir_all(disk.join("transmission").join(folder));
        }
        self.start_part(&part)
    }

    /// Removes every artifact from a branch's store, complete or not, behind its daemon's back.
    ///
    /// # Errors
    /// The branch does not exist, or a file cannot be removed.
    pub async fn empty_store(&self, branch: &BranchName) -> Result<(), LabError> {
        let (part, store) = (Part::branch_transmission(branch), self.site(branch)?.store());
        self.kill(&part).await?;
        for entry in std::fs::read_dir(&store).map_err(LabError::file("read", &store))?.flatten() {
            std::fs::remove_file(entry.path()).map_err(LabError::file("remove", entry.path()))?;
        }
        self.start_part(&part)
    }

    /// Flips every bit of one byte of a file: a slot, an artifact, a journal.
    ///
    /// # Errors
    /// The file cannot be written, or is shorter.
    pub fn corrupt(&self, file: &Path, offset: u64) -> Result<(), LabError> {
        flip_byte(file, offset)
    }

    /// Adds the namespace of a foreign machine to a branch's LAN.
    ///
    /// # Errors
    /// The branch does not exist, or there are too many strangers.
    pub async fn stranger(&self, branch: &BranchName) -> Result<Stranger, LabError> {
        let site = self.site(branch)?.number;
        let number = {
            let mut count = self.strangers.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            *count += 1;
            *count
        };
        if number > 50 {
            return Err(LabError::Options("a lab has room for 50 strangers".into()));
        }
        let net = std::sync::Arc::clone(&self.net);
        blocking("let a stranger in", move || net.build_stranger(site, number)).await?;
        Ok(Stranger { namespace: self.net.stranger(site, number), address: Net::stranger_address(site, number) })
    }

    /// Runs a program to its end in a place's namespace; returns what it printed.
    ///
    /// # Errors
    /// The place does not exist, or the program ends badly.
    pub async fn run_in(&self, place: &Place, program: &str, args: &[&str]) -> Result<String, LabError> {
        Tool::in_namespace(&self.namespace(place)?, program).args(args).run_async().await
    }
}
