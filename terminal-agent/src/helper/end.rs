//! The end of a trial that was not confirmed in time. Run by systemd and not by the agent: it needs neither the socket nor
//! the trust store, and nothing that the slot on trial could have broken but this program.

use bootslot::{BootError, BootState, Trial};
use chrono::{DateTime, Utc};
use fleet_types::Slot;
use serde::Serialize;
use service_kit::durable;
use wire::ReasonCode;
use wire::v1::reports::Reason;

use super::boot::{Boots, storage};
use crate::model::reasons::of_error;

/// What the boot script adds to the kernel command line when it boots a trial.
pub const TRIAL_BOOT: &str = "filial.trial=1";

/// What became of the trial.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum EndTrial {
    /// The slot that runs is the default: it was confirmed, or never on trial.
    ///
    /// Nothing was changed.
    Confirmed,
    /// The slot that runs is neither the default nor on trial.
    ///
    /// The bootloader took it for want of another. Nothing was changed.
    NotOnTrial,
    /// It was on trial and is not tried again.
    ///
    /// The machine has to be restarted, and boots the old slot.
    Ended,
}

impl EndTrial {
    /// Whether the machine has to be restarted now.
    pub const fn restart(self) -> bool {
        matches!(self, Self::Ended)
    }

    /// For people.
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::Confirmed => "The running slot is confirmed: there is no trial to end.",
            Self::NotOnTrial => "The running slot is not on trial: there is nothing to end.",
            Self::Ended => "The trial was not confirmed in time and has ended: the old slot boots next.",
        }
    }
}

/// Why a trial ended, as it is kept on the disk.
#[derive(Debug, Serialize)]
struct Note {
    slot: Slot,
    boot_id: Option<String>,
    at: DateTime<Utc>,
    text: &'static str,
}

impl Boots {
    /// Ends the trial of the slot that runs, unless it was confirmed.
    ///
    /// Its attempts are used up, as if the bootloader had counted them: so the agent of the old slot finds that the new
    /// one was tried, and a confirmation that comes while the machine is going down still counts. May be repeated.
    ///
    /// # Errors
    /// What runs is not known, or the boot state cannot be read or written: then only a restart is left, and the
    /// bootloader counts.
    pub fn end_trial(&self, now: DateTime<Utc>) -> Result<EndTrial, Reason> {
        let _alone = self.alone()?;
        let line = self.devices.host.kernel_command_line();
        let line = line.map_err(|e| of_error(ReasonCode::RunningSlotUnknown, &e))?;
        let running = self.running()?;
        let spent = BootState { default: running.other(), trial: Some(Trial { slot: running, left: 0 }) };
        match self.devices.boot.read() {
            Ok(state) if state.trial.is_some_and(|t| t.slot == running) => {
                self.note_end(running, now);
                if state != spent {
                    self.write_boot(&spent)?;
                }
                Ok(EndTrial::Ended)
            }
            // The agent gave it up, and the restart that it asked for has not come.
            Ok(state) if state.default != running && line.split_ascii_whitespace().any(|p| p == TRIAL_BOOT) => {
                self.note_end(running, now);
                Ok(EndTrial::Ended)
            }
            Ok(state) if state.default != running => Ok(EndTrial::NotOnTrial),
            Err(BootError::Block { .. }) if self.noted_trial()? == Some(running) => {
                self.note_end(running, now);
                self.replace_boot(&spent)?;
                Ok(EndTrial::Ended)
            }
            // Noted before the block says so, and forgotten when it was confirmed: without the note it was.
            Ok(_) | Err(BootError::Block { .. }) => {
                self.mark_confirmed(running);
                Ok(EndTrial::Confirmed)
            }
            Err(error) => Err(of_error(ReasonCode::BootStateUnreadable, &error)),
        }
    }

    /// Kept beside the boot block's note, one file whatever happens.
    ///
    /// A trial ends also where it cannot be kept.
    fn note_end(&self, slot: Slot, at: DateTime<Utc>) {
        let text = EndTrial::Ended.sentence();
        let note = Note { slot, boot_id: self.devices.host.boot_id().ok(), at, text };
        let kept = serde_json::to_vec(&note).map_err(|e| storage("Why the trial ended cannot be saved.", &e));
        let kept = kept.and_then(|bytes| {
            durable::write_file(&self.setup.state.join("ended-trial.json"), &bytes)
                .map_err(|e| storage("Why the trial ended cannot be saved.", &e))
        });
        match kept {
            Ok(()) => tracing::warn!(%slot, "{text}"),
            Err(Reason { code, text: error, .. }) => tracing::warn!(%slot, %code, error, "{text}"),
        }
    }
}
