//! Configuration in three stages: fragments ([`service_kit::config`]) → [`Inputs`] → [`Settings`].

pub mod agent;
pub mod helper;
pub mod inputs;

/// The name under which the environment is read: `FILIAL_TERMINAL_AGENT__SECTION__KEY`.
pub const PROGRAM: &str = "terminal-agent";

/// The installed configuration with every key, for `--help`.
pub const EXAMPLE: &str = include_str!("../../dist/terminal-agent.toml");
