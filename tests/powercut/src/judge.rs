//! What a machine's disk holds while it is off, judged as its bootloader would take it. Nothing is repaired.

use anyhow::{Context, Result};
use fleet_types::{Slot, TerminalRef, Version};
use lab::{BootEnv, Lab};

/// What may be on a machine's disk while it is updated.
#[derive(Debug, Clone)]
pub(crate) struct Expected {
    /// The slot that ran when the update was assigned, which is never written.
    pub(crate) old_slot: Slot,
    /// Its version.
    pub(crate) old: Version,
    /// The version that is to come into the other slot.
    pub(crate) new: Version,
}

/// What a disk holds.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    /// The bootloader's state, for people.
    pub(crate) boot: String,
    /// The bootloader's state, if it has one.
    pub(crate) env: Option<BootEnv>,
    /// What it would start and should not.
    pub(crate) wrong: Option<String>,
}

impl Found {
    /// Whether the update is through: the new slot is the default and nothing is on trial.
    pub(crate) fn is_settled(&self, slot: Slot) -> bool {
        self.wrong.is_none() && self.env.is_some_and(|e| (e.default, e.trial) == (slot, None))
    }
}

/// Judges a disk: every slot that the bootloader would start holds, to the byte, the version that is to be there.
pub(crate) async fn disk(lab: &Lab, machine: &TerminalRef, expected: &Expected) -> Result<Found> {
    let env = lab.vm_boot_env(machine);
    let boot = match &env {
        Ok(BootEnv { default, trial: None, .. }) => format!("default {default}"),
        Ok(BootEnv { default, trial: Some(slot), trial_left }) => {
            format!("default {default}, trial {slot} with {trial_left} left")
        }
        Err(e) => format!("no usable boot block, so slot A: {e}"),
    };
    // Without a usable block the script begins with its safe slot (filial_safe in the image's header.cfg).
    let default = env.as_ref().map_or(Slot::A, |e| e.default);
    let mut wrong = whole(lab, machine, expected, default, "the default").await?;
    if let (None, Ok(BootEnv { trial: Some(slot), trial_left: 1.., .. })) = (&wrong, &env) {
        wrong = if *slot == expected.old_slot {
            Some(format!("slot {slot}, which was the confirmed one, is on trial"))
        } else {
            whole(lab, machine, expected, *slot, "on trial").await?
        };
    }
    Ok(Found { boot, env: env.ok(), wrong })
}

/// Why a slot is not whole.
async fn whole(
    lab: &Lab,
    machine: &TerminalRef,
    expected: &Expected,
    slot: Slot,
    what: &str,
) -> Result<Option<String>> {
    let version = if slot == expected.old_slot { &expected.old } else { &expected.new };
    let shipped = lab.shipped_of(&lab.options().vm.product, version).context("the lab knows what it shipped")?;
    let held = lab.vm_slot_sha256(machine, slot, shipped.length).await?;
    let sha256 = shipped.sha256;
    Ok((held != sha256).then(|| format!("slot {slot}, {what}, holds {held}, and {version} is {sha256}")))
}
