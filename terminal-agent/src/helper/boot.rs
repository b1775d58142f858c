//! The helper and the bootloader's state: every move that it makes, each checked against the slot that runs.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::path::PathBuf;
use std::sync::Arc;

use bootslot::{BootError, BootSlots, BootState, EditError, SlotRoots, Stored, Trial, Verified, running_slot};
use chrono::{DateTime, Utc};
use fleet_types::{BranchName, Slot, TerminalName};
use service_kit::durable;
use service_kit::edge::chain;
use wire::ReasonCode;
use wire::v1::reports::Reason;

use crate::model::reasons::{failed, of_error};
use crate::ports::{Disks, Host, Power};

/// What the helper knows by itself.
#[derive(Debug, Clone)]
pub struct HelperSetup {
    /// A folder that only the helper writes.
    pub state: PathBuf,
    /// The fleet's root file.
    pub root: PathBuf,
    /// A time that has passed for certain.
    pub not_before: DateTime<Utc>,
    /// This terminal's branch.
    pub branch: BranchName,
    /// This terminal.
    pub terminal: TerminalName,
    /// What the kernel's command line says of each slot.
    pub slots: SlotRoots,
    /// Boots that the bootloader gives a trial.
    pub attempts: u8,
    /// A file that is made once the boot that runs is confirmed, where nothing outlives a boot.
    pub confirmed: PathBuf,
}

/// What the helper acts through: devices and the running system, no network.
pub struct Devices {
    /// The slots' disks.
    pub disks: Arc<dyn Disks>,
    /// The bootloader's state.
    pub boot: Arc<dyn BootSlots>,
    /// What runs on this machine.
    pub host: Arc<dyn Host>,
    /// Restarting it.
    pub power: Arc<dyn Power>,
}

fn changed(error: EditError) -> Reason {
    Reason::new(ReasonCode::BootStateChanged, format!("The boot state changed meanwhile ({error}). It is read again."))
}

pub(super) fn storage(sentence: &str, error: &(dyn std::error::Error + 'static)) -> Reason {
    failed(ReasonCode::HelperStorage, format!("{sentence} Check the helper's state folder."), chain(error))
}

/// What moves the bootloader's state.
///
/// It needs no trust store: a trial is ended even where that is lost.
pub struct Boots {
    pub(super) setup: HelperSetup,
    pub(super) devices: Devices,
}

impl Boots {
    /// This machine's.
    pub const fn new(setup: HelperSetup, devices: Devices) -> Self {
        Self { setup, devices }
    }

    /// The slot that runs, by the kernel command line and nothing else.
    pub(super) fn running(&self) -> Result<Slot, Reason> {
        let line = self.devices.host.kernel_command_line();
        let line = line.map_err(|e| of_error(ReasonCode::RunningSlotUnknown, &e))?;
        running_slot(&line, &self.setup.slots).map_err(|e| of_error(e.code(), &e))
    }

    /// The state as it stands.
    pub(super) fn look(&self) -> Result<BootState, Reason> {
        self.look_marked().map(|stored| stored.state)
    }

    fn look_marked(&self) -> Result<Stored, Reason> {
        self.devices.boot.read_marked().map_err(|error| match error {
            BootError::Block { .. } => of_error(ReasonCode::BootStateInvalid, &error),
            error => of_error(ReasonCode::BootStateUnreadable, &error),
        })
    }

    /// Sets the trial of the slot that does not run.
    pub(super) fn start_trial(&self, running: Slot) -> Result<(), Reason> {
        let _alone = self.alone()?;
        let adopted = self.look()?.adopt(running).map_err(changed)?;
        let trial = adopted.start_trial(running.other(), self.setup.attempts).map_err(changed)?;
        // Noted first: should the block be lost, what runs then is not taken for confirmed.
        self.note_trial(running.other())?;
        self.write_boot(&trial)
    }

    pub(super) fn settle(&self) -> Result<(), Reason> {
        let _alone = self.alone()?;
        let running = self.running()?;
        match self.devices.boot.read() {
            Ok(state) if state == BootState::settled(running) => {}
            Ok(state) => {
                state.adopt(running).map_err(changed)?;
                // A slot was checked before its trial. A default that did not start is damaged.
                let verified = if state.trial.is_some() { Verified::BOTH } else { Verified::only(running) };
                self.write_settled(running, verified)?;
            }
            Err(BootError::Block { .. }) if self.noted_trial()? == Some(running) => {
                let spent = Some(Trial { slot: running, left: 0 });
                return self.replace_boot(&BootState { default: running.other(), trial: spent });
            }
            Err(BootError::Block { .. }) => {
                self.replace_boot(&BootState::settled(running))?;
                // What the lost block said of the other slot is not known.
                self.write_settled(running, Verified::only(running))?;
            }
            Err(error) => return Err(of_error(ReasonCode::BootStateUnreadable, &error)),
        }
        self.mark_confirmed(running);
        self.forget_trial()
    }

    pub(super) fn confirm(&self) -> Result<(), Reason> {
        let _alone = self.alone()?;
        let (running, state) = (self.running()?, self.look()?);
        let confirmed = state.confirm(running).map_err(changed)?;
        if confirmed != state {
            // The other one was the default until now, and no slot is written while there is a trial.
            self.write_settled(running, Verified::BOTH)?;
        }
        self.mark_confirmed(running);
        self.forget_trial()
    }

    pub(super) fn give_up(&self) -> Result<(), Reason> {
        let _alone = self.alone()?;
        let running = self.running()?;
        let old = BootState::settled(running.other());
        match self.devices.boot.read() {
            Ok(state) if state == old => {}
            Ok(state) if state.trial.is_some_and(|t| t.slot == running) => {
                self.write_settled(old.default, Verified::BOTH)?;
            }
            Err(BootError::Block { .. }) if self.noted_trial()? == Some(running) => {
                self.replace_boot(&old)?;
                self.write_settled(old.default, Verified::BOTH)?;
            }
            Ok(_) | Err(BootError::Block { .. }) => return Err(changed(EditError::NotOnTrial(running))),
            Err(error) => return Err(of_error(ReasonCode::BootStateUnreadable, &error)),
        }
        self.forget_trial()
    }

    /// The slot that may be written.
    ///
    /// The other one, while nothing is on trial and this one is the default. So nothing changes between the moment when
    /// a slot was hashed and the one when it boots. It is not verified any more then, and is never fallen back to.
    pub(super) fn writable(&self) -> Result<Slot, Reason> {
        let _alone = self.alone()?;
        let (running, Stored { state, verified }) = (self.running()?, self.look_marked()?);
        if state != BootState::settled(running) {
            let state = format!("{state:?}");
            return Err(Reason::of(ReasonCode::BootNotSettled).with("slot", running).with("state", state));
        }
        let running_alone = Verified::only(running);
        if self.devices.boot.keeps_marks() && verified != Some(running_alone) {
            self.write_settled(running, running_alone)?;
        }
        self.forget_trial()?;
        Ok(running.other())
    }

    /// Whether a restart would change what runs.
    ///
    /// Other restarts are not needed, and a compromised agent could keep a machine from its work by nothing but
    /// restarts. An unreadable state does not stop a restart.
    pub(super) fn has_cause_to_restart(&self) -> Result<(), Reason> {
        let (Ok(running), Ok(state)) = (self.running(), self.look()) else { return Ok(()) };
        let on_trial = state.trial.is_some_and(|t| t.slot == running);
        if on_trial || state.boot().0 != running {
            return Ok(());
        }
        Err(Reason::of(ReasonCode::RestartWithoutCause).with("slot", running))
    }

    /// The boot state is read, judged and written by one process at a time.
    ///
    /// `terminal-helper end-trial` must not end what the helper confirms at that moment. Held until dropped.
    pub(super) fn alone(&self) -> Result<File, Reason> {
        // The folder itself: no room is needed for a lock on it.
        let open = || -> io::Result<File> {
            let folder = File::open(&self.setup.state)?;
            folder.lock()?;
            Ok(folder)
        };
        open().map_err(|e| storage("The boot state cannot be locked.", &e))
    }

    /// Tells the trial's timer that it has nothing to end.
    ///
    /// Without the mark it asks the boot state, so nothing fails here.
    pub(super) fn mark_confirmed(&self, running: Slot) {
        let path = &self.setup.confirmed;
        if let Err(error) = File::create(path).and_then(|mut f| writeln!(f, "{running}")) {
            tracing::warn!(path = %path.display(), %error, "the mark that this boot is confirmed could not be written");
        }
    }

    /// Read back, because a store that takes a write and does not keep it must not be believed.
    pub(super) fn write_boot(&self, state: &BootState) -> Result<(), Reason> {
        let written = self.devices.boot.write(state);
        self.read_back(written, (*state).into())
    }

    /// Ends every trial, and marks the slots that the boot script may fall back to.
    fn write_settled(&self, default: Slot, verified: Verified) -> Result<(), Reason> {
        let (boot, state) = (&self.devices.boot, BootState::settled(default));
        let verified = Some(verified).filter(|_| boot.keeps_marks());
        let written = verified.map_or_else(|| boot.write(&state), |verified| boot.mark(default, verified));
        self.read_back(written, Stored { state, verified })
    }

    fn read_back(&self, written: Result<(), BootError>, stored: Stored) -> Result<(), Reason> {
        match written.and_then(|()| self.devices.boot.read_marked()) {
            Ok(kept) if kept == stored => Ok(()),
            Ok(kept) => {
                let sentence = "The boot state does not keep what was written. Check the boot environment's medium.";
                let detail = format!("written {stored:?}, read {kept:?}");
                Err(failed(ReasonCode::BootStateUnwritable, sentence, detail))
            }
            Err(error) => Err(of_error(ReasonCode::BootStateUnwritable, &error)),
        }
    }

    pub(super) fn replace_boot(&self, state: &BootState) -> Result<(), Reason> {
        tracing::warn!(?state, "the boot block is invalid: a new one is written");
        self.devices.boot.create(state).map_err(|e| of_error(ReasonCode::BootStateUnwritable, &e))
    }

    /// Which slot was put on trial, kept beside the boot block.
    ///
    /// An invalid block does not say whether the slot that runs was confirmed.
    fn trial_note(&self) -> PathBuf {
        self.setup.state.join("trial.json")
    }

    pub(super) fn noted_trial(&self) -> Result<Option<Slot>, Reason> {
        let text = match fs::read(self.trial_note()) {
            Ok(text) => text,
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(storage("Which slot is on trial cannot be read.", &e)),
        };
        serde_json::from_slice(&text).map(Some).map_err(|e| storage("Which slot is on trial cannot be read.", &e))
    }

    fn note_trial(&self, slot: Slot) -> Result<(), Reason> {
        let kept = |e: &(dyn std::error::Error + 'static)| storage("Which slot is on trial cannot be saved.", e);
        let text = serde_json::to_vec(&slot).map_err(|e| kept(&e))?;
        durable::write_file(&self.trial_note(), &text).map_err(|e| kept(&e))
    }

    fn forget_trial(&self) -> Result<(), Reason> {
        match fs::remove_file(self.trial_note()) {
            Ok(()) => durable::sync_dir(&self.setup.state)
                .map_err(|e| storage("The note of an old trial cannot be removed.", &e)),
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
            Err(e) => Err(storage("The note of an old trial cannot be removed.", &e)),
        }
    }
}
