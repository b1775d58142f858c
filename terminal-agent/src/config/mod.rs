//! Configuration in three stages: fragments ([`service_kit::config`]) → [`Inputs`] → [`Settings`].

mod helper;
mod inputs;
mod settings;

pub use helper::HelperSettings;
pub use inputs::Inputs;
pub use settings::{
    BootSetting, BranchSettings, EngineSettings, IdentitySettings, PathSettings, Settings, SlotSetting, SlotSettings,
    Timing,
};

/// The name under which the environment is read: `FILIAL_TERMINAL_AGENT__SECTION__KEY`.
pub const PROGRAM: &str = "terminal-agent";
