//! What the lab can do to its parts, by name.

use std::path::Path;

use fleet_types::{BranchName, TerminalRef};
use rustix::process::Signal;

use crate::error::LabError;
use crate::exec::{Tool, blocking};
use crate::lab::{Lab, PATIENCE};
use crate::machine::flip_byte;
use crate::net::Net;
use crate::part::Part;
use crate::rate::Rate;

/// Somebody on a branch's LAN who is not of the fleet.
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
    /// There is no such part.
    pub async fn kill(&self, part: &Part) -> Result<(), LabError> {
        self.processes.kill(part).await
    }

    /// Asks a part to end, and kills it if it does not; it stays down until [`Lab::start_part`].
    ///
    /// # Errors
    /// There is no such part.
    pub async fn end(&self, part: &Part) -> Result<(), LabError> {
        self.processes.end(part, PATIENCE).await
    }

    /// Starts a part that is down, with the configuration it had. Nothing happens if it runs.
    ///
    /// # Errors
    /// There is no such part, or it cannot be started.
    pub fn start_part(&self, part: &Part) -> Result<(), LabError> {
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
    /// There is no such part, or it does not run.
    pub fn pause(&self, part: &Part) -> Result<(), LabError> {
        self.processes.stop(part, true)
    }

    /// Lets a part go on (SIGCONT).
    ///
    /// # Errors
    /// There is no such part, or it does not run.
    pub fn resume(&self, part: &Part) -> Result<(), LabError> {
        self.processes.stop(part, false)
    }

    /// Sends a part a signal.
    ///
    /// # Errors
    /// There is no such part, or it does not run.
    pub fn signal(&self, part: &Part, signal: Signal) -> Result<(), LabError> {
        self.processes.signal(part, signal)
    }

    /// Pulls a terminal's plug and plugs it in again: no process gets to say goodbye, and the bootloader runs.
    ///
    /// # Errors
    /// There is no such terminal, or it cannot be started.
    pub async fn power_cycle(&self, terminal: &TerminalRef) -> Result<(), LabError> {
        self.terminal(terminal)?.restart(&self.processes, false, self.options.listener.as_ref()).await
    }

    /// Cuts a branch's WAN link.
    ///
    /// # Errors
    /// There is no such branch.
    pub fn cut_wan(&self, branch: &BranchName) -> Result<(), LabError> {
        self.net.plug_wan(self.site(branch)?.number, false)
    }

    /// Restores a branch's WAN link.
    ///
    /// # Errors
    /// There is no such branch.
    pub fn restore_wan(&self, branch: &BranchName) -> Result<(), LabError> {
        self.net.plug_wan(self.site(branch)?.number, true)
    }

    /// Sets the rate of a branch's WAN link, both ways.
    ///
    /// # Errors
    /// There is no such branch.
    pub fn set_wan_rate(&self, branch: &BranchName, rate: Rate) -> Result<(), LabError> {
        self.net.set_wan_rate(self.site(branch)?.number, rate)
    }

    /// Sets the rate at which a branch server sends into its LAN.
    ///
    /// # Errors
    /// There is no such branch.
    pub fn set_lan_rate(&self, branch: &BranchName, rate: Rate) -> Result<(), LabError> {
        self.net.set_lan_rate(self.site(branch)?.number, rate)
    }

    /// Cuts a terminal's link.
    ///
    /// # Errors
    /// There is no such terminal.
    pub fn cut_terminal(&self, terminal: &TerminalRef) -> Result<(), LabError> {
        let t = self.terminal(terminal)?;
        self.net.plug_terminal(t.branch, t.number, false)
    }

    /// Restores a terminal's link.
    ///
    /// # Errors
    /// There is no such terminal.
    pub fn restore_terminal(&self, terminal: &TerminalRef) -> Result<(), LabError> {
        let t = self.terminal(terminal)?;
        self.net.plug_terminal(t.branch, t.number, true)
    }

    /// Flips every bit of one byte of a file: a slot, an artifact, a journal.
    ///
    /// # Errors
    /// The file cannot be written, or is shorter.
    pub fn corrupt(&self, file: &Path, offset: u64) -> Result<(), LabError> {
        flip_byte(file, offset)
    }

    /// A namespace of somebody else on a branch's LAN.
    ///
    /// # Errors
    /// There is no such branch, or there are too many strangers.
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
    /// There is no such place, or the program ends badly.
    pub async fn run_in(&self, place: &crate::Place, program: &str, args: &[&str]) -> Result<String, LabError> {
        Tool::in_namespace(&self.namespace(place)?, program).args(args).run_async().await
    }
}
