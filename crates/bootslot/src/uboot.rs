//! The `uboot` backend: U-Boot's redundant environment, through libubootenv's `fw_printenv` and `fw_setenv`.
//!
//! The environment lies on the medium twice, each copy with a checksum and a counter. One run of fw_setenv writes all
//! three variables into the copy that does not count, and only the finished copy counts: a power cut leaves the old
//! state. So a configuration that names one copy only is refused.

use std::ffi::OsStr;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::adapters::process::{self, ToolError};
use fleet_types::Slot;

use crate::error::{BlockError, BootError};
use crate::fields::{self, LinesError, NAMES};
use crate::marks::{Stored, Verified};
use crate::slots::BootSlots;
use crate::state::BootState;

/// A configuration is two lines and comments; more than this is something else.
const MOST_CONFIG: u64 = 65_536;

/// No default environment: a path that cannot exist.
///
/// Else the tools take the file of the distribution for the environment when both copies are broken, and a write
/// would drop the variables of others without a word.
const NO_DEFAULTS: &str = "/dev/null/none";

/// What fw_printenv and fw_setenv say when neither copy is good.
const BOTH_BROKEN: &str = "Cannot read environment";

/// U-Boot's environment.
///
/// Variables: those of [`crate::GrubEnv`]. U-Boot knows no empty variables: without a trial, `filial_trial` is not
/// there.
#[derive(Debug, Clone)]
pub struct UBootEnv {
    /// The configuration of the tools, usually `/etc/fw_env.config`: where both copies lie.
    pub config: PathBuf,
    /// U-Boot's built-in variables as a file, usually `/etc/u-boot-initial-env`.
    ///
    /// What a fresh environment begins with. One without `bootcmd` would boot nothing.
    pub defaults: PathBuf,
    /// The folder of both tools.
    pub tools: PathBuf,
    /// How long each may run.
    pub limit: Duration,
}

impl UBootEnv {
    /// The environment that `config` describes, with everything else as it usually is.
    pub fn new(config: impl Into<PathBuf>) -> Self {
        Self {
            config: config.into(),
            defaults: "/etc/u-boot-initial-env".into(),
            tools: "/usr/bin".into(),
            limit: Duration::from_secs(20),
        }
    }

    /// Both copies must be named: with one alone a power cut loses the environment.
    fn check_config(&self) -> Result<(), BootError> {
        let open = |source| BootError::Open { path: self.config.clone(), source };
        let mut text = String::new();
        File::open(&self.config).map_err(open)?.take(MOST_CONFIG).read_to_string(&mut text).map_err(open)?;
        let copies = text.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with('#')).count();
        match copies {
            2 => Ok(()),
            copies => Err(BootError::NotRedundant { path: self.config.clone(), copies }),
        }
    }

    fn run(&self, tool: &str, defaults: &Path, rest: &[&str], input: &[u8]) -> Result<Vec<u8>, BootError> {
        let program = self.tools.join(tool);
        let mut arguments =
            [OsStr::new("-c"), self.config.as_os_str(), OsStr::new("-f"), defaults.as_os_str()].to_vec();
        arguments.extend(rest.iter().map(OsStr::new));
        let ended = process::run(&program, arguments, input, self.limit);
        let failed = |source| BootError::Tool { program: program.clone(), source };
        let ended = ended.map_err(failed)?;
        if !ended.status.success() && process::one_line(&ended.errors).contains(BOTH_BROKEN) {
            return Err(self.unusable(BlockError::Copies));
        }
        ended.success().map_err(failed)
    }

    fn set(&self, stored: &Stored, defaults: &Path) -> Result<(), BootError> {
        // An empty value takes the variable away.
        self.run("fw_setenv", defaults, &["-s", "-"], fields::to_lines(NAMES, stored).as_bytes())?;
        let kept = self.get()?;
        match kept == *stored {
            true => Ok(()),
            false => Err(BootError::NotKept { path: self.config.clone(), written: stored.state, kept: kept.state }),
        }
    }

    fn get(&self) -> Result<Stored, BootError> {
        let output = self.run("fw_printenv", Path::new(NO_DEFAULTS), &NAMES, b"")?;
        fields::from_lines(NAMES, &output).map_err(|error| match error {
            LinesError::State(BlockError::Value { name, value }) if value.is_empty() => {
                self.unusable(BlockError::Missing(name))
            }
            LinesError::State(source) => self.unusable(source),
            LinesError::Answer(why) => BootError::Tool {
                program: self.tools.join("fw_printenv"),
                source: ToolError::Answer { said: process::one_line(&output), why },
            },
        })
    }

    fn unusable(&self, source: BlockError) -> BootError {
        BootError::Block { path: self.config.clone(), source }
    }
}

impl BootSlots for UBootEnv {
    fn read(&self) -> Result<BootState, BootError> {
        self.read_marked().map(|stored| stored.state)
    }

    fn write(&self, state: &BootState) -> Result<(), BootError> {
        self.read()?;
        self.set(&(*state).into(), Path::new(NO_DEFAULTS))
    }

    fn keeps_marks(&self) -> bool {
        true
    }

    fn read_marked(&self) -> Result<Stored, BootError> {
        self.check_config()?;
        self.get()
    }

    /// Once: the environment itself lies on the medium twice.
    fn mark(&self, default: Slot, verified: Verified) -> Result<(), BootError> {
        self.read()?;
        self.set(&Stored::settled(default, verified), Path::new(NO_DEFAULTS))
    }

    /// When a copy is good the variables of others stay.
    ///
    /// When none is, [`UBootEnv::defaults`] takes their place.
    fn create(&self, state: &BootState) -> Result<(), BootError> {
        match self.read() {
            Ok(_) => Err(BootError::AlreadyValid { path: self.config.clone() }),
            Err(BootError::Block { source: BlockError::Copies, .. }) => {
                File::open(&self.defaults)
                    .map_err(|source| BootError::Defaults { path: self.defaults.clone(), source })?;
                self.set(&(*state).into(), &self.defaults)
            }
            Err(BootError::Block { .. }) => self.set(&(*state).into(), Path::new(NO_DEFAULTS)),
            Err(error) => Err(error),
        }
    }
}
