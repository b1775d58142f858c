//! Configuration in three stages: fragments ([`service_kit::config`]) → [`Inputs`] → [`Settings`].

pub mod agent;
pub mod helper;
pub mod inputs;

/// The name under which the environment is read: `FILIAL_TERMINAL_AGENT__SECTION__KEY`.
pub const PROGRAM: &str = "terminal-agent";
