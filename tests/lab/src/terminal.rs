//! A terminal at work: its machine, its agent and its daemon, and the firmware's part when it restarts.

use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use fleet_types::TerminalRef;
use tokio::time::MissedTickBehavior;

use crate::error::LabError;
use crate::exec::blocking;
use crate::machine::{Boot, Machine};
use crate::options::{Happening, LabOptions, Listener};
use crate::part::Part;
use crate::process::{PATIENCE, Processes};
use crate::recipe::Recipe;
use crate::sites::{agent, helper, terminal_transmission};

/// A terminal of the lab.
#[derive(Debug)]
pub(crate) struct Terminal {
    pub(crate) machine: Machine,
    /// Its branch's number.
    pub(crate) branch: usize,
    /// Its number within the branch.
    pub(crate) number: usize,
    pub(crate) namespace: String,
    pub(crate) address: Ipv4Addr,
    boots: Mutex<Vec<Boot>>,
    /// Why it cannot go on, if it cannot.
    trouble: Mutex<Option<String>>,
    /// Held while it goes down and comes up.
    power: tokio::sync::Mutex<()>,
}

impl Terminal {
    pub(crate) fn new(machine: Machine, branch: usize, number: usize, namespace: String, address: Ipv4Addr) -> Self {
        Self {
            machine,
            branch,
            number,
            namespace,
            address,
            boots: Mutex::default(),
            trouble: Mutex::default(),
            power: tokio::sync::Mutex::default(),
        }
    }

    pub(crate) fn name(&self) -> &TerminalRef {
        &self.machine.terminal
    }

    pub(crate) fn boots(&self) -> Vec<Boot> {
        self.boots.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn trouble(&self) -> Option<String> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Comes up: the bootloader chooses, then what runs on the chosen system starts.
    pub(crate) async fn power_on(
        &self,
        processes: &Processes,
        parts: [(Part, Recipe); 3],
        listener: Option<&Listener>,
    ) -> Result<(), LabError> {
        let machine = self.machine.clone();
        let boots = blocking("boot a terminal", move || machine.boot()).await?;
        let last = boots.last().cloned();
        if let Some(listener) = listener {
            for boot in &boots {
                listener(Happening::Boot(format!("{} {boot}", self.name())));
            }
        }
        self.boots.lock().unwrap_or_else(PoisonError::into_inner).extend(boots);
        if let Some(Boot { version: Err(why), .. }) = last {
            let text = format!("{} does not boot from either slot: {why}", self.name());
            *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = Some(text);
            return Ok(());
        }
        parts.into_iter().try_for_each(|(part, recipe)| processes.start(&part, recipe))
    }

    /// What runs there, in the order in which it starts.
    fn parts(&self) -> [Part; 3] {
        let name = self.name();
        [Part::helper(name), Part::terminal_transmission(name), Part::agent(name)]
    }

    /// Goes down: in order, or as when the plug is pulled.
    async fn power_off(&self, processes: &Processes, in_order: bool) -> Result<(), LabError> {
        for part in self.parts().into_iter().rev() {
            match in_order {
                true => processes.end(&part, PATIENCE).await?,
                false => processes.kill(&part).await?,
            }
        }
        Ok(())
    }

    /// Goes down and comes up again.
    pub(crate) async fn restart(
        &self,
        processes: &Processes,
        in_order: bool,
        listener: Option<&Listener>,
    ) -> Result<(), LabError> {
        let _power = self.power.lock().await;
        let [helper, transmission, agent] =
            self.parts().map(|part| processes.recipe(&part).map(|recipe| (part, recipe)));
        let parts = [helper?, transmission?, agent?];
        self.power_off(processes, in_order).await?;
        self.power_on(processes, parts, listener).await
    }

    /// The first start: configuration is written, then it comes up.
    pub(crate) async fn first_start(
        &self,
        processes: &Processes,
        join_token: &Path,
        branch_url: &str,
        options: &LabOptions,
    ) -> Result<(), LabError> {
        let transmission = terminal_transmission(&self.machine, &self.namespace, self.address)?;
        let agent = agent(&self.machine, &self.namespace, join_token, branch_url, options)?;
        let helper = helper(&self.machine, &agent, options)?;
        let [first, second, third] = self.parts();
        let parts = [(first, helper), (second, transmission), (third, agent)];
        let _power = self.power.lock().await;
        self.power_on(processes, parts, options.listener.as_ref()).await
    }
}

/// Restarts the terminal whenever its agent asked for it; runs until it is aborted.
pub(crate) async fn supervise(terminal: Arc<Terminal>, processes: Processes, listener: Option<Listener>) {
    let mut tick = tokio::time::interval(Duration::from_millis(100));
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        if !terminal.machine.take_restart_wish() {
            continue;
        }
        if let Err(e) = terminal.restart(&processes, true, listener.as_ref()).await {
            let text = format!("{} could not be restarted: {e}", terminal.name());
            *terminal.trouble.lock().unwrap_or_else(PoisonError::into_inner) = Some(text);
        }
    }
}

impl std::fmt::Display for Boot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let how = if self.trial { "on trial" } else { "by default" };
        match &self.version {
            Ok(version) => write!(f, "boots slot {} {how}: version {version}", self.slot),
            Err(why) => write!(f, "cannot boot slot {} {how}: {why}", self.slot),
        }
    }
}
