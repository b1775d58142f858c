//! What was said: every key optional, unknown keys refused. dist/terminal-agent.toml explains each.

use std::path::PathBuf;

use chrono::{DateTime, Utc};
use serde::Deserialize;
use service_kit::telemetry::TelemetryInputs;
use swarm::EngineInputs;

/// The whole configuration as written.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Inputs {
    pub(super) branch: Branch,
    pub(super) identity: Identity,
    pub(super) trust: Trust,
    pub(super) paths: Paths,
    pub(super) slots: Slots,
    pub(super) boot: Boot,
    pub(super) engine: EngineInputs,
    pub(super) power: Power,
    pub(super) helper: Helper,
    pub(super) health: Health,
    pub(super) timing: Timing,
    pub(super) retention: Retention,
    pub(super) retry: Retry,
    pub(super) telemetry: TelemetryInputs,
}

macro_rules! section {
    ($name:ident { $($field:ident: $type:ty),+ $(,)? }) => {
        #[derive(Debug, Clone, Default, Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub(super) struct $name {
            $(pub(super) $field: Option<$type>,)+
        }
    };
}

section!(Branch { url: String, join_token_file: PathBuf, tracker_host: String });
section!(Identity { name: String, model: String });
section!(Trust { root: PathBuf, not_before: DateTime<Utc> });
section!(Paths {
    state_dir: PathBuf,
    data_dir: PathBuf,
    health_dir: PathBuf,
    os_release: PathBuf,
    kernel_command_line: PathBuf,
    boot_id: PathBuf,
    boots: PathBuf,
});
section!(Slot { device: PathBuf, root: String });
section!(Boot {
    backend: Backend,
    grub_environment: PathBuf,
    uboot_config: PathBuf,
    uboot_defaults: PathBuf,
    uboot_tools: PathBuf,
    custom_command: Vec<String>,
    custom_marks: bool,
    trial_attempts: u8,
});
section!(Power { reboot_command: Vec<String>, });
section!(Helper { branch: String, socket: PathBuf, state_dir: PathBuf, agent_user: String });
section!(Health { failed_units: bool });
section!(Timing {
    poll_seconds: f64,
    event_spread_seconds: f64,
    engine_poll_seconds: f64,
    health_poll_seconds: f64,
    progress_seconds: f64,
    retry_min_seconds: f64,
    retry_max_seconds: f64,
    request_seconds: f64,
    branch_wait_seconds: f64,
    trial_deadline_seconds: f64,
    drop_in_seconds: f64,
    restart_patience_seconds: f64,
});
section!(Retention { hours: f64 });
section!(Retry { attempts: u32, wait_seconds: f64 });

/// Both slots.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Slots {
    pub(super) a: Slot,
    pub(super) b: Slot,
}

/// What keeps the boot state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Backend {
    #[default]
    Grub,
    UBoot,
    Custom,
}
