//! What holds. Past this point nothing is optional that is needed.

use std::path::PathBuf;
use std::time::Duration;

use bootslot::{MAX_ATTEMPTS, SlotRoots};
use chrono::{DateTime, TimeDelta, Utc};
use fleet_types::{ModelName, TerminalName};
use service_kit::config::ConfigError;
use service_kit::config::check::{absolute, https_url, required, seconds, within};
use service_kit::telemetry::TelemetrySettings;
use swarm::{EngineConfig, EngineInputs, EngineRole};

use super::inputs::{self, Inputs};
use crate::model::limits::{Limits, RetryPolicy};

/// Longest span in seconds: a year.
const YEAR: f64 = 31_536_000.0;

/// The agent's settings.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The branch server.
    pub branch: BranchSettings,
    /// Who this terminal is.
    pub identity: IdentitySettings,
    /// The fleet's root file, with which the trust store is begun at the first start.
    pub trust_root: PathBuf,
    /// A time that has passed for certain: what certificates and signed files are judged by is never earlier.
    pub not_before: DateTime<Utc>,
    /// Files and folders.
    pub paths: PathSettings,
    /// The two slots.
    pub slots: SlotSettings,
    /// Where the boot state is kept, which only the root helper opens.
    pub boot: BootSetting,
    /// The BitTorrent engine.
    pub engine: EngineSettings,
    /// The root helper's socket.
    pub helper_socket: PathBuf,
    /// The program with which the root helper restarts the machine, and its arguments.
    pub reboot_command: Vec<String>,
    /// Whether failed units are looked at in the trial.
    pub failed_units: bool,
    /// Waits other than the bounds of decisions.
    pub timing: Timing,
    /// Bounds of decisions.
    pub limits: Limits,
    /// How long an artifact is kept and seeded after the last plan that named it.
    pub retention: TimeDelta,
    /// What follows a bad end.
    pub retry: RetryPolicy,
    /// The log.
    pub telemetry: TelemetrySettings,
}

/// The branch server.
#[derive(Debug, Clone)]
pub struct BranchSettings {
    /// Its machine listener, such as `https://10.1.0.1:7004`.
    pub url: String,
    /// A file with the token that terminals of this branch enrol with.
    ///
    /// It says by which authority the branch server is known.
    pub join_token_file: PathBuf,
    /// Host of the branch's tracker: the only one that this terminal announces to.
    pub tracker_host: String,
}

impl BranchSettings {
    /// The hosts of the branch server: of its machine listener and its tracker.
    pub fn hosts(&self) -> impl Iterator<Item = String> + use<> {
        [host_of(&self.url, "https"), Some(self.tracker_host.clone())].into_iter().flatten()
    }

    /// Whether this tracker is the branch's own.
    pub fn is_own_tracker(&self, tracker: &str) -> bool {
        host_of(tracker, "http").is_some_and(|host| host == self.tracker_host)
    }
}

/// Host of an address with this scheme.
fn host_of(url: &str, scheme: &str) -> Option<String> {
    let url = reqwest::Url::parse(url).ok()?;
    (url.scheme() == scheme).then(|| url.host_str().map(str::to_owned)).flatten()
}

/// Who this terminal is.
#[derive(Debug, Clone)]
pub struct IdentitySettings {
    /// Its name, unique in its branch.
    pub name: TerminalName,
    /// Its hardware model.
    pub model: ModelName,
}

/// Files and folders.
#[derive(Debug, Clone)]
pub struct PathSettings {
    /// The journal, the identity, the log of segments.
    pub state_dir: PathBuf,
    /// Indexes, torrents and segment journals.
    pub data_dir: PathBuf,
    /// Health checks of the slot that runs.
    pub health_dir: PathBuf,
    /// os-release of the slot that runs.
    pub os_release: PathBuf,
    /// The kernel's command line.
    pub kernel_command_line: PathBuf,
    /// A text that differs from boot to boot.
    pub boot_id: PathBuf,
    /// The records of boots that the slots' initramfs keep.
    pub boots: PathBuf,
}

impl PathSettings {
    /// The journal's file.
    pub fn journal(&self) -> PathBuf {
        self.state_dir.join("journal.json")
    }

    /// What is believed: the signed metadata that was accepted last.
    pub fn trust_store(&self) -> PathBuf {
        self.state_dir.join("trust.json")
    }

    /// The plan that was accepted last.
    pub fn accepted(&self) -> PathBuf {
        self.state_dir.join("plan.json")
    }

    /// A file with which `terminal-agent run` asks the service to fetch packages at once.
    pub fn go_on(&self) -> PathBuf {
        self.state_dir.join("go-on")
    }

    /// The log of segments and moves.
    pub fn events(&self) -> PathBuf {
        self.state_dir.join("events.jsonl")
    }
}

/// A slot.
#[derive(Debug, Clone)]
pub struct SlotSetting {
    /// Its partition, or a file that stands for one.
    pub device: PathBuf,
    /// What `root=` says on the kernel command line when it runs.
    pub root: String,
}

/// Both slots.
#[derive(Debug, Clone)]
pub struct SlotSettings {
    /// Slot A.
    pub a: SlotSetting,
    /// Slot B.
    pub b: SlotSetting,
}

impl SlotSettings {
    /// The roots, as [`bootslot::running_slot`] wants them.
    pub fn roots(&self) -> SlotRoots {
        SlotRoots { a: self.a.root.clone(), b: self.b.root.clone() }
    }
}

/// What keeps the boot state, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BootSetting {
    /// GRUB's environment block in a file.
    Grub {
        /// The file.
        environment: PathBuf,
    },
    /// U-Boot's redundant environment.
    UBoot {
        /// The configuration of fw_printenv and fw_setenv.
        config: PathBuf,
        /// U-Boot's built-in variables, for a fresh environment.
        defaults: PathBuf,
        /// The folder of both tools.
        tools: PathBuf,
    },
    /// A program of the machine's own: [`bootslot::CustomProgram`] has the protocol.
    Custom {
        /// The program.
        program: PathBuf,
        /// What stands before `get` or `set`.
        arguments: Vec<String>,
        /// Whether the bootloader looks at marks of verified slots.
        marks: bool,
    },
}

/// The BitTorrent engine.
#[derive(Debug, Clone)]
pub struct EngineSettings {
    /// Which, and how it is reached. Files with secrets are read only by the agent that runs.
    pub config: EngineConfig,
    /// Where it keeps artifacts; this user reads them there.
    pub download_dir: PathBuf,
}

/// Waits.
#[derive(Debug, Clone)]
pub struct Timing {
    /// At most so long between two questions to the branch.
    pub poll: Duration,
    /// An event is followed up after a random part of this, to spread requests.
    pub event_spread: Duration,
    /// Least time between two reports of progress.
    pub progress: Duration,
    /// First bound of the wait after a failure.
    pub retry_min: Duration,
    /// Last bound of the wait after a failure.
    pub retry_max: Duration,
    /// How long the branch may take to answer.
    pub request: Duration,
    /// How long a drop-in health check may run.
    pub drop_in: Duration,
}

impl TryFrom<Inputs> for Settings {
    type Error = ConfigError;

    fn try_from(inputs: Inputs) -> Result<Self, ConfigError> {
        let timing = timing(&inputs.timing)?;
        let limits = limits(&inputs)?;
        let settings = Self {
            branch: branch(inputs.branch)?,
            identity: IdentitySettings {
                name: name("identity.name", "till-1", inputs.identity.name)?,
                model: name("identity.model", "kiosk-x86-64", inputs.identity.model)?,
            },
            trust_root: absolute(inputs.trust.root, "trust.root", "/etc/filial/root.json")?,
            not_before: inputs.trust.not_before.unwrap_or(DateTime::UNIX_EPOCH),
            paths: paths(inputs.paths),
            slots: SlotSettings { a: slot("a", inputs.slots.a)?, b: slot("b", inputs.slots.b)? },
            boot: boot(inputs.boot)?,
            engine: engine(inputs.engine)?,
            helper_socket: socket(inputs.helper.socket)?,
            reboot_command: inputs.power.reboot_command.unwrap_or_else(|| vec!["systemctl".into(), "reboot".into()]),
            failed_units: inputs.health.failed_units.unwrap_or(true),
            timing,
            limits,
            retention: delta(inputs.retention.hours.unwrap_or(72.0), 3600.0, "retention.hours")?,
            retry: RetryPolicy {
                attempts: inputs.retry.attempts.unwrap_or(3),
                wait: delta(inputs.retry.wait_seconds.unwrap_or(3600.0), 1.0, "retry.wait_seconds")?,
            },
            telemetry: inputs.telemetry.into(),
        };
        settings.check()
    }
}

impl Settings {
    fn check(self) -> Result<Self, ConfigError> {
        if self.slots.a.root == self.slots.b.root {
            return Err(ConfigError::bad(
                "slots.b.root",
                "is the same as slots.a.root: the running slot could not be determined",
            ));
        }
        if self.slots.a.device == self.slots.b.device {
            return Err(ConfigError::bad(
                "slots.b.device",
                "is the same as slots.a.device: the running slot would be overwritten",
            ));
        }
        if self.reboot_command.is_empty() {
            return Err(ConfigError::bad(
                "power.reboot_command",
                "is empty; write for example: reboot_command = [\"systemctl\", \"reboot\"]",
            ));
        }
        if self.limits.branch_wait > self.limits.trial_deadline {
            return Err(ConfigError::bad("timing.branch_wait_seconds", "is longer than timing.trial_deadline_seconds"));
        }
        Ok(self)
    }
}

fn socket(path: Option<PathBuf>) -> Result<PathBuf, ConfigError> {
    let usual = "/run/filial/terminal-helper.sock";
    absolute(path.or_else(|| Some(usual.into())), "helper.socket", usual)
}

pub(super) fn name<T: std::str::FromStr<Err: std::fmt::Display>>(
    key: &str,
    example: &str,
    value: Option<String>,
) -> Result<T, ConfigError> {
    let value = required(value, key, example)?;
    value.parse().map_err(|e: T::Err| ConfigError::bad(key, e.to_string()))
}

fn branch(branch: inputs::Branch) -> Result<BranchSettings, ConfigError> {
    let url = https_url(branch.url, "branch.url", "https://10.1.0.1:7004")?;
    let host =
        host_of(&url, "https").ok_or_else(|| ConfigError::bad("branch.url", format!("{url:?} names no host")))?;
    Ok(BranchSettings {
        join_token_file: branch.join_token_file.unwrap_or_else(|| "/var/lib/terminal-agent/join-token".into()),
        tracker_host: branch.tracker_host.unwrap_or(host),
        url,
    })
}

fn paths(paths: inputs::Paths) -> PathSettings {
    let or = |path: Option<PathBuf>, default: &str| path.unwrap_or_else(|| default.into());
    PathSettings {
        state_dir: or(paths.state_dir, "/var/lib/terminal-agent"),
        data_dir: or(paths.data_dir, "/var/lib/terminal-agent/data"),
        health_dir: or(paths.health_dir, "/etc/terminal-agent/health.d"),
        os_release: or(paths.os_release, "/etc/os-release"),
        kernel_command_line: or(paths.kernel_command_line, "/proc/cmdline"),
        boot_id: or(paths.boot_id, "/proc/sys/kernel/random/boot_id"),
        boots: or(paths.boots, "/var/lib/filial-boots"),
    }
}

fn slot(letter: &str, slot: inputs::Slot) -> Result<SlotSetting, ConfigError> {
    let example = |what: &str| format!("{what}slot-{letter}");
    Ok(SlotSetting {
        device: required(slot.device, &format!("slots.{letter}.device"), &example("/dev/disk/by-partlabel/"))?,
        root: required(slot.root, &format!("slots.{letter}.root"), &example("PARTLABEL="))?,
    })
}

fn boot(boot: inputs::Boot) -> Result<BootSetting, ConfigError> {
    let path = |value: Option<PathBuf>, key, usual: &str| absolute(value.or_else(|| Some(usual.into())), key, usual);
    match boot.backend.unwrap_or_default() {
        inputs::Backend::Grub => {
            let environment = required(boot.grub_environment, "boot.grub_environment", "/boot/efi/filial/grubenv")?;
            Ok(BootSetting::Grub { environment })
        }
        inputs::Backend::UBoot => Ok(BootSetting::UBoot {
            config: path(boot.uboot_config, "boot.uboot_config", "/etc/fw_env.config")?,
            defaults: path(boot.uboot_defaults, "boot.uboot_defaults", "/etc/u-boot-initial-env")?,
            tools: path(boot.uboot_tools, "boot.uboot_tools", "/usr/bin")?,
        }),
        inputs::Backend::Custom => {
            let (key, example) = ("boot.custom_command", "[\"/usr/lib/kiosk/boot-state\"]");
            let mut words = required(boot.custom_command, key, example)?.into_iter();
            let program = absolute(words.next().map(PathBuf::from), key, example)?;
            let marks = boot.custom_marks.unwrap_or(false);
            Ok(BootSetting::Custom { program, arguments: words.collect(), marks })
        }
    }
}

fn engine(mut engine: EngineInputs) -> Result<EngineSettings, ConfigError> {
    let folder = "/var/lib/filial-artifacts";
    let download_dir = engine.download_dir.take().unwrap_or_else(|| folder.into());
    Ok(EngineSettings {
        config: engine.check(EngineRole::Terminal)?,
        download_dir: absolute(Some(download_dir), "engine.download_dir", folder)?,
    })
}

fn timing(timing: &inputs::Timing) -> Result<Timing, ConfigError> {
    Ok(Timing {
        poll: seconds(timing.poll_seconds, "timing.poll_seconds", 60.0)?,
        event_spread: seconds(timing.event_spread_seconds, "timing.event_spread_seconds", 2.0)?,
        progress: seconds(timing.progress_seconds, "timing.progress_seconds", 5.0)?,
        retry_min: seconds(timing.retry_min_seconds, "timing.retry_min_seconds", 1.0)?,
        retry_max: seconds(timing.retry_max_seconds, "timing.retry_max_seconds", 60.0)?,
        request: seconds(timing.request_seconds, "timing.request_seconds", 15.0)?,
        drop_in: seconds(timing.drop_in_seconds, "timing.drop_in_seconds", 60.0)?,
    })
}

fn limits(inputs: &Inputs) -> Result<Limits, ConfigError> {
    let timing = &inputs.timing;
    let attempts = inputs.boot.trial_attempts.unwrap_or(3);
    let trial_attempts = within(attempts, 1, MAX_ATTEMPTS, "boot.trial_attempts")?;
    let deadline = seconds(timing.trial_deadline_seconds, "timing.trial_deadline_seconds", 900.0)?;
    Ok(Limits {
        attempts: 8,
        trial_attempts,
        restarts: 3,
        restart_patience: seconds(timing.restart_patience_seconds, "timing.restart_patience_seconds", 300.0)?,
        verifies: 3,
        batch: 8,
        idle_poll: seconds(timing.poll_seconds, "timing.poll_seconds", 60.0)?,
        engine_poll: seconds(timing.engine_poll_seconds, "timing.engine_poll_seconds", 1.0)?,
        health_poll: seconds(timing.health_poll_seconds, "timing.health_poll_seconds", 5.0)?,
        branch_wait: seconds(timing.branch_wait_seconds, "timing.branch_wait_seconds", 600.0)?,
        trial_deadline: deadline,
    })
}

/// A span that is counted on the wall clock: in units of `unit` seconds, up to a year.
fn delta(value: f64, unit: f64, key: &str) -> Result<TimeDelta, ConfigError> {
    let given = within(value, 0.01, YEAR / unit, key)?;
    TimeDelta::from_std(Duration::from_secs_f64(given * unit)).map_err(|e| ConfigError::bad(key, e.to_string()))
}
