//! The real world: one file per port. Nothing else spawns processes, reads clocks or opens devices.

mod boot_logs;
mod branch;
mod clock;
pub mod command;
mod disks;
mod drop_ins;
mod helper;
mod host;
mod partitions;
mod power;
mod process;
mod users;

use std::sync::Arc;

use bootslot::{BootSlots, CustomProgram, GrubEnv, UBootEnv};
use chrono::DateTime;
use service_kit::SystemClock;
use service_kit::config::ConfigError;
use swarm::EngineError;
use trust::certificates::FleetTime;

pub use boot_logs::MachineBootLogs;
pub use branch::HttpBranch;
pub use clock::MachineClock;
pub use disks::SlotDisks;
pub use drop_ins::HealthFolder;
pub use helper::{HelperDisks, HelperSocket};
pub use host::{Machine, os_release_value};
pub use power::RebootCommand;
pub use users::user_id;

use crate::config::agent::{BootSetting, Settings};
use crate::helper::boot::Devices;
use crate::ports::Ports;

/// Why the adapters could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum SetUpError {
    /// A file that the settings name.
    #[error("a file that the settings name cannot be used")]
    Config(#[from] ConfigError),
    /// The engine's settings.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

/// What the root helper acts through on a real machine.
pub fn devices(settings: &Settings) -> Devices {
    Devices {
        disks: Arc::new(SlotDisks::new(settings.slots.clone())),
        boot: boot_slots(&settings.boot),
        host: Arc::new(Machine::new(settings)),
        power: Arc::new(RebootCommand::new(settings.reboot_command.clone())),
    }
}

fn boot_slots(setting: &BootSetting) -> Arc<dyn BootSlots> {
    match setting.clone() {
        BootSetting::Grub { environment } => Arc::new(GrubEnv::new(environment)),
        BootSetting::UBoot { config, defaults, tools } => {
            Arc::new(UBootEnv { defaults, tools, ..UBootEnv::new(config) })
        }
        BootSetting::Custom { program, arguments, marks } => {
            Arc::new(CustomProgram { marks, ..CustomProgram::new(program, arguments) })
        }
    }
}

/// The ports of a real machine.
///
/// # Errors
/// A secret cannot be read.
pub fn ports(settings: &Settings) -> Result<Ports, SetUpError> {
    let swarm = settings.engine.config.with_secrets()?.open()?;
    // Raised to the time that the trust store proves, once it is open.
    let time = FleetTime::new(Arc::new(SystemClock), DateTime::UNIX_EPOCH);
    Ok(Ports {
        disks: Arc::new(HelperDisks::new(HelperSocket::new(&settings.helper_socket))),
        helper: Arc::new(HelperSocket::new(&settings.helper_socket)),
        branch: Arc::new(HttpBranch::new(&settings.branch.url, settings.timing.request, time)),
        swarm,
        clock: Arc::new(MachineClock),
        host: Arc::new(Machine::new(settings)),
        drop_ins: Arc::new(HealthFolder::new(settings.paths.health_dir.clone(), settings.timing.drop_in)),
        boot_logs: Arc::new(MachineBootLogs::new(settings.paths.boots.clone())),
    })
}
