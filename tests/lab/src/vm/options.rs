//! What the virtual machines of a lab are to look like.

use std::path::{Path, PathBuf};

use fleet_types::{ModelName, ProductName};

use crate::error::LabError;
use crate::images::source_root;
use crate::net::MAX_VMS;

/// The firmware's settings as they leave the factory.
pub(crate) const VARIABLES: &str = "/usr/share/OVMF/OVMF_VARS_4M.fd";

/// Timing of an agent that is watched by a test, on a processor that is emulated.
const AGENT: &str = "[timing]
poll_seconds = 2.0
event_spread_seconds = 0.1
engine_poll_seconds = 0.5
health_poll_seconds = 2.0
progress_seconds = 1.0
retry_min_seconds = 0.5
retry_max_seconds = 3.0
request_seconds = 10.0
branch_wait_seconds = 60.0
trial_deadline_seconds = 90.0

[retry]
wait_seconds = 5.0
";

/// What the virtual machines of a lab are to look like. They have a product of their own: images with a kernel.
#[derive(Debug, Clone)]
pub struct VmOptions {
    /// The disk that each gets a copy of; `make image` builds it.
    pub disk: PathBuf,
    /// The image that is written to slot A of the copy.
    pub image: PathBuf,
    /// The product that they run.
    pub product: ProductName,
    /// Their hardware model.
    pub model: ModelName,
    /// Further settings of their agents, TOML: timing. `[boot]` and what says who and where they are is the lab's.
    pub agent: String,
    /// How often the bootloader tries a new slot.
    pub trial_attempts: u8,
    /// Seconds after boot at which the system's timer ends an unconfirmed trial; as the image has it,
    /// if not said.
    pub trial_timer_seconds: Option<u32>,
    /// How many processors each has.
    pub processors: u8,
    /// Record every write and flush of each boot, in the format of the kernel's dm-log-writes: `writes-1.log`,
    /// `writes-2.log` … in the machine's folder.
    pub record_writes: bool,
}

impl VmOptions {
    /// The image that `make image` builds, of the product `kiosk-vm`.
    ///
    /// # Errors
    /// Never in practice: the built-in names are valid.
    pub fn new() -> Result<Self, LabError> {
        let named = |e: fleet_types::NameError| LabError::Options(e.to_string());
        let images = source_root().join("target/images");
        Ok(Self {
            disk: images.join("terminal.disk"),
            image: images.join("vm-v1.squashfs"),
            product: "kiosk-vm".parse().map_err(named)?,
            model: "vm-x86-64".parse().map_err(named)?,
            agent: AGENT.to_owned(),
            trial_attempts: 2,
            trial_timer_seconds: None,
            // With a second one the system starts in three fifths of the time, but the firmware lets it spin after every
            // restart that is no power cut: that costs more, and other machines their processor.
            processors: 1,
            record_writes: false,
        })
    }

    pub(crate) fn check(&self) -> Result<(), LabError> {
        if !(1..=9).contains(&self.trial_attempts) {
            let why = format!("the bootloader tries a new slot 1 to 9 times, not {}", self.trial_attempts);
            return Err(LabError::Options(why));
        }
        let missing = [&self.disk, &self.image].into_iter().find(|path| !path.exists());
        missing.map_or(Ok(()), |path| Err(LabError::DiskMissing { path: path.clone() }))
    }
}

/// Checks that `vms` virtual machines with these options can be built.
pub(crate) fn check(vms: usize, options: &VmOptions) -> Result<(), LabError> {
    if vms > MAX_VMS {
        return Err(LabError::Options(format!("a lab has at most {MAX_VMS} virtual machines")));
    }
    if vms > 0 {
        options.check()?;
        if !Path::new(VARIABLES).exists() {
            return Err(LabError::ToolMissing { tool: "the firmware OVMF" });
        }
    }
    Ok(())
}
