//! A running lab.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fleet_types::{BranchName, ProductName, Slot, TerminalRef, Version};
use tokio::task::JoinHandle;
use trust::certificates::Identity as Who;

use crate::api::Api;
use crate::claim::Claim;
use crate::error::LabError;
use crate::machine::{Boot, BootEnv};
use crate::net::{Counters, Net};
use crate::options::LabOptions;
use crate::part::{Part, Place, Role};
use crate::proc::Identity;
use crate::process::{PATIENCE, PartState, Processes};
use crate::secrets;
use crate::shipped::Shipped;
use crate::sites::Site;
use crate::terminal::Terminal;
use crate::vm::Vm;
use crate::volumes;

/// A running lab. Dropping it ends and removes everything, as does the end of its process, however that comes.
#[derive(Debug)]
pub struct Lab {
    pub(crate) options: LabOptions,
    pub(crate) folder: PathBuf,
    pub(crate) net: Arc<Net>,
    pub(crate) processes: Processes,
    pub(crate) head_office: Site,
    /// By number from 1: index 0 is branch 1.
    pub(crate) branches: Vec<(BranchName, Site)>,
    pub(crate) terminals: BTreeMap<TerminalRef, Arc<Terminal>>,
    /// The terminals that are virtual machines; none of them is among `terminals`.
    pub(crate) vms: BTreeMap<TerminalRef, Arc<Vm>>,
    pub(crate) api: Api,
    pub(crate) shipped: Mutex<BTreeMap<(ProductName, Version), Shipped>>,
    pub(crate) strangers: Mutex<usize>,
    pub(crate) supervisors: Vec<JoinHandle<()>>,
    /// Outlives this process and cleans up what was left.
    pub(crate) undertaker: Option<std::process::Child>,
    /// The lab was stopped in order, so that its test passed.
    pub(crate) well: bool,
    pub(crate) claim: Claim,
}

impl Lab {
    /// Ends every part in order and removes the networks. Logs and configuration stay in the run folder.
    ///
    /// # Errors
    /// Something could not be ended or removed, or a log tells a secret.
    pub async fn stop(mut self) -> Result<(), LabError> {
        self.supervisors.drain(..).for_each(|s| s.abort());
        // Our programs first, then what they stand on.
        let mut parts = self.processes.parts();
        parts.sort_by_key(|p| (p.role != Role::Program, p.role == Role::Postgres));
        for role in [Role::Machine, Role::Program, Role::Helper, Role::Transmission, Role::Opentracker, Role::Postgres]
        {
            let ends = parts.iter().filter(|p| p.role == role).map(|p| self.processes.end(p, PATIENCE));
            for ended in futures_util::future::join_all(ends).await {
                ended?;
            }
        }
        let told = secrets::check(&self.folder);
        let left = self.leave();
        self.well = told.is_ok();
        self.remove_bulk();
        told?;
        left
    }

    /// Frees the lab's place on this machine. What limited disks held that explains a failure stays in its place.
    fn leave(&self) -> Result<(), LabError> {
        let kept = |path: &Path| path.with_file_name("kept");
        // None any more when this was done before.
        let mut volumes = volumes::mounted(self.claim.prefix())?;
        volumes.retain(|path| path.starts_with(&self.folder));
        volumes.iter().for_each(|path| volumes::keep_evidence(path, &kept(path)));
        self.claim.release()?;
        for path in volumes.iter().filter(|path| kept(path).exists()) {
            let _ = std::fs::remove_dir(path);
            let _ = std::fs::rename(kept(path), path);
        }
        Ok(())
    }

    /// What it was asked to be.
    pub fn options(&self) -> &LabOptions {
        &self.options
    }

    /// The run folder: configuration, logs, slots.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// One of our own programs, such as `filial`.
    ///
    /// # Errors
    /// It was not built.
    pub fn program(&self, name: &str) -> Result<PathBuf, LabError> {
        self.options.program_named(name)
    }

    /// An error if some part ended without being told to.
    ///
    /// # Errors
    /// The part, how it ended, and the end of its log.
    pub fn check_parts(&self) -> Result<(), LabError> {
        self.processes.check()
    }

    /// The branches' names, in order.
    pub fn branches(&self) -> Vec<BranchName> {
        self.branches.iter().map(|(name, _)| name.clone()).collect()
    }

    /// The terminals that are processes of this machine, by branch and name. [`Lab::vms`] are the others.
    pub fn terminals(&self) -> Vec<TerminalRef> {
        self.terminals.keys().cloned().collect()
    }

    /// Those of one branch.
    pub fn terminals_of(&self, branch: &BranchName) -> Vec<TerminalRef> {
        self.terminals.keys().filter(|t| t.branch == *branch).cloned().collect()
    }

    /// An administrator's access to head office.
    pub fn api(&self) -> &Api {
        &self.api
    }

    /// An administrator's access to a branch server.
    ///
    /// # Errors
    /// The branch does not exist.
    pub fn branch_api(&self, branch: &BranchName) -> Result<Api, LabError> {
        let known = self.api.authority().map(|authority| (authority, Who::Branch(branch.clone())));
        let (url, file) = (self.site(branch)?.operators_url(), self.site(branch)?.admin_token());
        let token = std::fs::read_to_string(&file).map_err(LabError::file("read", &file))?;
        Api::new(url, token.trim().to_owned(), known)
    }

    /// The file that holds the administrator's token.
    pub fn admin_token_file(&self) -> PathBuf {
        self.head_office.admin_token()
    }

    /// Where a site's artifacts lie: head office's or a branch's store.
    ///
    /// # Errors
    /// The branch does not exist.
    pub fn store(&self, branch: Option<&BranchName>) -> Result<PathBuf, LabError> {
        branch.map_or(Ok(self.head_office.store()), |b| self.site(b).map(Site::store))
    }

    /// The state of a part.
    ///
    /// # Errors
    /// The part does not exist.
    pub fn state(&self, part: &Part) -> Result<PartState, LabError> {
        self.processes.state(part)
    }

    /// The log of a part.
    ///
    /// # Errors
    /// The part does not exist.
    pub fn log(&self, part: &Part) -> Result<PathBuf, LabError> {
        self.processes.log(part)
    }

    /// The process id of a part.
    ///
    /// # Errors
    /// The part does not exist.
    pub fn pid(&self, part: &Part) -> Result<i32, LabError> {
        self.processes.pid(part)
    }

    /// For how long a part's process has been running.
    ///
    /// # Errors
    /// The part does not exist, or it does not run.
    pub fn age(&self, part: &Part) -> Result<Duration, LabError> {
        let pid = self.pid(part)?;
        let age = Identity::of(pid).and_then(Identity::age);
        age.ok_or_else(|| LabError::Options(format!("{part} does not run (process {pid})")))
    }

    /// Every part.
    pub fn parts(&self) -> Vec<Part> {
        self.processes.parts()
    }

    /// The network namespace of a place, for `ip netns exec`.
    ///
    /// # Errors
    /// The place does not exist.
    pub fn namespace(&self, place: &Place) -> Result<String, LabError> {
        Ok(match place {
            Place::HeadOffice => self.head_office.namespace.clone(),
            Place::Branch(b) => self.site(b)?.namespace.clone(),
            Place::Terminal(t) if self.vms.contains_key(t) => {
                return Err(LabError::Options(format!(
                    "{t} is a virtual machine: nothing of it runs in a namespace here"
                )));
            }
            Place::Terminal(t) => self.terminal(t)?.namespace.clone(),
        })
    }

    /// The bytes that passed a branch's interfaces since the lab began.
    ///
    /// # Errors
    /// The branch does not exist, or its counters cannot be read.
    pub fn counters(&self, branch: &BranchName) -> Result<Counters, LabError> {
        self.net.counters(self.site(branch)?.number)
    }

    /// A terminal's boot environment as grub-editenv reads it.
    ///
    /// # Errors
    /// There is no such terminal, or its block is not usable.
    pub fn read_env(&self, terminal: &TerminalRef) -> Result<BootEnv, LabError> {
        if let Some(vm) = self.vms.get(terminal) {
            return vm.boot_env();
        }
        self.terminal(terminal)?.machine.read_env()
    }

    /// The file that stands for a terminal's slot.
    ///
    /// # Errors
    /// There is no such terminal.
    pub fn slot_path(&self, terminal: &TerminalRef, slot: Slot) -> Result<PathBuf, LabError> {
        Ok(self.terminal(terminal)?.machine.slot(slot))
    }

    /// A terminal's data folder: the agent's journal, the transmission downloads.
    ///
    /// # Errors
    /// There is no such terminal.
    pub fn data_path(&self, terminal: &TerminalRef) -> Result<PathBuf, LabError> {
        Ok(self.terminal(terminal)?.machine.data())
    }

    /// The file of a terminal's boot environment block.
    ///
    /// # Errors
    /// There is no such terminal.
    pub fn env_path(&self, terminal: &TerminalRef) -> Result<PathBuf, LabError> {
        Ok(self.terminal(terminal)?.machine.env_block())
    }

    /// SHA-256 of the first `length` bytes of a terminal's slot, read by the lab itself.
    ///
    /// # Errors
    /// There is no such terminal, or the slot is shorter or cannot be read.
    pub async fn slot_sha256(
        &self,
        terminal: &TerminalRef,
        slot: Slot,
        length: u64,
    ) -> Result<fleet_types::Digest, LabError> {
        if let Some(vm) = self.vms.get(terminal).cloned() {
            return crate::exec::blocking("hash a slot", move || vm.slot_sha256(slot, length)).await;
        }
        let machine = self.terminal(terminal)?.machine.clone();
        crate::exec::blocking("hash a slot", move || machine.slot_sha256(slot, length)).await
    }

    /// Every attempt of a terminal's bootloader so far, oldest first; a virtual machine's are [`Lab::vm_boots`].
    ///
    /// # Errors
    /// There is no such terminal.
    pub fn boots(&self, terminal: &TerminalRef) -> Result<Vec<Boot>, LabError> {
        Ok(self.terminal(terminal)?.boots())
    }

    /// The slot that runs: the one whose system the bootloader started last.
    ///
    /// # Errors
    /// There is no such terminal, or nothing could be booted on it.
    pub fn running_slot(&self, terminal: &TerminalRef) -> Result<Slot, LabError> {
        let running = self.booted(terminal)?.map(|(slot, _)| slot);
        running.ok_or_else(|| LabError::NotRunning(Part::agent(terminal).to_string()))
    }

    /// The slot that runs on a terminal of either kind, and the version of the image in it.
    pub(crate) fn booted(&self, terminal: &TerminalRef) -> Result<Option<(Slot, Version)>, LabError> {
        if let Some(vm) = self.vms.get(terminal) {
            return vm.booted();
        }
        Ok(self.boots(terminal)?.into_iter().rev().find_map(|b| Some((b.slot, b.version.ok()?))))
    }

    pub(crate) fn site(&self, branch: &BranchName) -> Result<&Site, LabError> {
        let found = self.branches.iter().find(|(name, _)| name == branch);
        found.map(|(_, site)| site).ok_or_else(|| LabError::NoSuchPart(branch.to_string()))
    }

    pub(crate) fn terminal(&self, terminal: &TerminalRef) -> Result<&Arc<Terminal>, LabError> {
        self.terminals.get(terminal).ok_or_else(|| LabError::NoSuchPart(terminal.to_string()))
    }

    /// Slots, stores and downloads are large; what explains a failure is not among them.
    fn remove_bulk(&self) {
        if self.options.keep {
            return;
        }
        for terminal in self.terminals.values() {
            let machine = &terminal.machine;
            for slot in Slot::ALL {
                let _ = std::fs::remove_file(machine.slot(slot));
            }
            let _ = std::fs::remove_dir_all(machine.downloads());
        }
        // A failed test may have to look at the disk of a real machine; the next lab of that name empties the folder.
        for vm in self.vms.values().filter(|_| self.well) {
            vm.remove_bulk();
        }
        for site in self.branches.iter().map(|(_, s)| s).chain([&self.head_office]) {
            let _ = std::fs::remove_dir_all(site.store());
        }
        let _ = std::fs::remove_dir_all(self.folder.join("releases"));
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.supervisors.drain(..).for_each(|s| s.abort());
        self.processes.close();
        self.net.close();
        // The claim says so itself if it cannot; here, so that it comes before the undertaker's end.
        let _ = self.leave();
        self.remove_bulk();
        if let Some(mut undertaker) = self.undertaker.take() {
            // Its input ends here; with nothing left to do it ends at once.
            drop(undertaker.stdin.take());
            let _ = undertaker.wait();
        }
    }
}
