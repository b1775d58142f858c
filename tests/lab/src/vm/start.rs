//! How a lab's virtual machines come up: a tap, a disk, a stick, and their first boot, waited for at head office.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::time::{Duration, Instant};

use fleet_types::{Slot, TerminalRef};
use tokio::time::MissedTickBehavior;

use crate::error::LabError;
use crate::exec::blocking;
use crate::images::image_version;
use crate::lab::Lab;
use crate::net::Net;
use crate::options::{Happening, Listener};
use crate::part::Part;
use crate::report::name_of;
use crate::sites::root_of;

use super::{Vm, events, qemu};

/// What a lab with virtual machines needs beyond what every lab does.
pub(crate) const TOOLS: [&str; 4] = ["qemu-system-x86_64", "mcopy", "mkfs.vfat", "unsquashfs"];
/// How long the first boot may take until head office has heard of it: emulated, on a machine with other work.
const COMES_UP: Duration = Duration::from_secs(300);
/// How often its console is looked at for people.
const LOOK: Duration = Duration::from_millis(500);

impl Lab {
    /// The virtual machines of the first branch, as the options have them. Nothing is made yet.
    pub(crate) fn plan_vms(&self) -> Result<BTreeMap<TerminalRef, Arc<Vm>>, LabError> {
        let Some((branch, site)) = self.branches.first() else { return Ok(BTreeMap::new()) };
        let plan = |number: usize| {
            let terminal: TerminalRef = format!("{branch}/vm-{number}")
                .parse()
                .map_err(|e: fleet_types::NameError| LabError::Options(e.to_string()))?;
            let own = |folder: PathBuf| folder.join(branch.as_str()).join(terminal.terminal.as_str());
            let vm = Vm {
                branch: site.number,
                number,
                namespace: site.namespace.clone(),
                address: Net::vm_address(site.number, number),
                hardware_address: self.net.vm_hardware_address(site.number, number),
                folder: own(self.folder.clone()),
                run: own(self.claim.temp().to_owned()),
                options: self.options.vm.clone(),
                recorded: AtomicUsize::new(0),
                recording: AtomicBool::new(self.options.vm.record_writes),
                terminal: terminal.clone(),
            };
            Ok((terminal, Arc::new(vm)))
        };
        (1..=self.options.vms).map(plan).collect()
    }

    /// Makes disks and sticks, and switches the machines on. Their branch server must have its join token.
    pub(crate) async fn start_vms(&mut self) -> Result<(), LabError> {
        for vm in self.vms.values() {
            let begun = Instant::now();
            let site = &self.branches[vm.branch - 1].1;
            let url = format!("https://{}:7004", Net::branch_lan_address(vm.branch));
            let (token, root) = (site.terminals_join_token(), root_of(&site.folder));
            let (net, machine) = (Arc::clone(&self.net), Arc::clone(vm));
            blocking("provision a virtual machine", move || {
                net.build_vm(machine.branch, machine.number)?;
                machine.provision(&url, &token, &root)
            })
            .await?;
            self.processes.start(&Part::machine(&vm.terminal), qemu::recipe(vm)?)?;
            self.supervisors.push(tokio::spawn(events::follow(Arc::clone(vm), self.processes.clone())));
            if let Some(listener) = &self.options.listener {
                self.supervisors.push(tokio::spawn(tell_boots(Arc::clone(vm), Arc::clone(listener))));
            }
            self.options.tell_done(format!("{}: its disk, its stick, switched on", vm.terminal), begun);
        }
        Ok(())
    }

    /// Waits until head office has heard from every virtual machine.
    pub(crate) async fn wait_vms(&self) -> Result<(), LabError> {
        if self.vms.is_empty() {
            return Ok(());
        }
        let begun = Instant::now();
        let image = &self.options.vm.image;
        self.remember_of(&self.options.vm.product, &image_version(image)?, image).await?;
        self.wait("every virtual machine to say what it runs", COMES_UP, async || {
            let terminals = self.api.terminals().await?;
            let said = terminals.iter().filter(|t| t.version.is_some() && t.slot == Some(Slot::A));
            Ok((said.filter(|t| self.vms.contains_key(&name_of(t))).count() == self.vms.len()).then_some(()))
        })
        .await?;
        self.options.tell_done(format!("virtual machines: {} enrolled, running slot A", self.vms.len()), begun);
        Ok(())
    }
}

/// Tells every boot of a machine as it happens; runs until it is aborted.
async fn tell_boots(vm: Arc<Vm>, listener: Listener) {
    let mut tick = tokio::time::interval(LOOK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut told = 0;
    loop {
        tick.tick().await;
        // What cannot be read now may be readable later; waits report the error.
        let Ok(boots) = vm.boots() else { continue };
        for boot in boots.iter().skip(told) {
            listener(Happening::Boot(format!("{} {boot}", vm.terminal)));
        }
        told = boots.len().max(told);
    }
}
