//! The settings of the terminal's transmission-daemon, as the agent's own settings have them.

use std::net::Ipv4Addr;
use std::path::Path;

use service_kit::config::ConfigError;
use swarm::{DaemonOptions, DaemonRole, SettingsError, daemon_settings};

use crate::config::agent::Settings;

/// Why the daemon's settings could not be written.
#[derive(Debug, thiserror::Error)]
pub enum DaemonSettingsError {
    /// The RPC's password.
    #[error("the password of the daemon's RPC cannot be read")]
    Password(#[from] ConfigError),
    /// The RPC's address.
    #[error(
        "engine.transmission.url is {0:?}: it must be an address with a port, as http://127.0.0.1:9091/transmission/rpc"
    )]
    Address(String),
    /// The file.
    #[error(transparent)]
    File(#[from] SettingsError),
}

/// Writes settings.json into the daemon's configuration folder. Blocking.
///
/// # Errors
/// The password cannot be read, the RPC's address has no port, the daemon runs, or the file cannot be written.
pub fn write_daemon_settings(settings: &Settings, folder: &Path) -> Result<(), DaemonSettingsError> {
    let access = &settings.engine.access;
    let port = reqwest::Url::parse(&access.url).ok().and_then(|url| url.port_or_known_default());
    let options = DaemonOptions {
        rpc_port: port.ok_or_else(|| DaemonSettingsError::Address(access.url.clone()))?,
        rpc_user: access.user.clone(),
        rpc_password: access.password()?.expose().to_owned(),
        // The terminal has one network, its branch's LAN.
        bind_address: Ipv4Addr::UNSPECIFIED,
        download_dir: settings.engine.download_dir.clone(),
        ..DaemonOptions::default()
    };
    Ok(swarm::write_daemon_settings(folder, &daemon_settings(DaemonRole::Terminal, &options))?)
}
