//! Configuration in three stages: fragments (files and environment, [`service_kit::config`]) → [`Inputs`] (what was
//! said) → [`Settings`] (what holds). Past [`Settings`] nothing is an `Option` that means "unset".

mod inputs;
mod settings;

pub use inputs::Inputs;
pub use settings::{
    HeadOfficeSettings, OperatorSettings, RelaySettings, Settings, StoreSettings, SyncSettings, TerminalSettings,
    TrackerSettings,
};

/// The name under which the environment is read: `FILIAL_BRANCH_SERVER__SECTION__KEY`.
pub const PROGRAM: &str = "branch-server";

/// A configuration that works once its names and addresses are put in; `--help` shows it and a test loads it.
pub const EXAMPLE: &str = include_str!("example.toml");
