//! `[engine.transmission]`: how the daemon is reached, on the way from the configuration to the engine.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use service_kit::config::{ConfigError, check, read_secret_file};

use super::{DaemonOptions, SettingsError, TransmissionSettings, daemon_settings, write_daemon_settings};
use crate::EngineRole;

/// The daemon's RPC address as Debian's package has it.
const RPC_URL: &str = "http://127.0.0.1:9091/transmission/rpc";

/// `[engine.transmission]` as written.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TransmissionInputs {
    /// Its RPC address.
    pub url: Option<String>,
    /// Its RPC user.
    pub user: Option<String>,
    /// The file with its RPC password.
    pub password_file: Option<PathBuf>,
    /// How long a call may take.
    pub timeout_seconds: Option<f64>,
}

impl TransmissionInputs {
    /// Checks the values; the password is not read yet. A terminal has defaults for all of them.
    ///
    /// # Errors
    /// A value is absent or cannot be used.
    pub(crate) fn check(self, role: EngineRole) -> Result<TransmissionAccess, ConfigError> {
        let (given, password_file) = match role {
            EngineRole::HeadOffice => (self, "/etc/filial/head-office/transmission-password"),
            EngineRole::Branch => (self, "/etc/filial/branch-server/transmission-password"),
            EngineRole::Terminal => (self.or_of_terminal(), TERMINAL_PASSWORD),
        };
        Ok(TransmissionAccess {
            url: check::http_url(given.url, "engine.transmission.url", RPC_URL)?,
            user: check::required(given.user, "engine.transmission.user", "filial")?,
            password_file: check::absolute(given.password_file, "engine.transmission.password_file", password_file)?,
            timeout: check::seconds(given.timeout_seconds, "engine.transmission.timeout_seconds", 15.0)?,
        })
    }

    fn or_of_terminal(self) -> Self {
        Self {
            url: self.url.or_else(|| Some(RPC_URL.into())),
            user: self.user.or_else(|| Some("filial".into())),
            password_file: self.password_file.or_else(|| Some(TERMINAL_PASSWORD.into())),
            timeout_seconds: self.timeout_seconds.or(Some(10.0)),
        }
    }
}

/// Where a terminal keeps the RPC's password.
const TERMINAL_PASSWORD: &str = "/etc/terminal-agent/rpc-password";

/// How to reach the daemon, checked. The password is still in its file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransmissionAccess {
    /// Its RPC address.
    pub url: String,
    /// Its RPC user.
    pub user: String,
    /// The file with its RPC password. Absolute.
    pub password_file: PathBuf,
    /// How long a call may take.
    pub timeout: Duration,
}

/// Why the daemon's settings could not be written.
#[derive(Debug, thiserror::Error)]
pub enum DaemonSettingsError {
    /// The RPC's password.
    #[error("the password of the daemon's RPC cannot be read")]
    Password(#[from] ConfigError),
    /// The RPC's address.
    #[error("engine.transmission.url is {0:?}: it must be an address with a port, as {RPC_URL}")]
    Address(String),
    /// The file.
    #[error(transparent)]
    File(#[from] SettingsError),
}

impl TransmissionAccess {
    /// Reads the password, which only the running program may have to be able to. Blocking.
    pub(crate) fn settings(&self) -> Result<TransmissionSettings, ConfigError> {
        let password = read_secret_file(&self.password_file)?.expose().to_owned();
        Ok(TransmissionSettings { url: self.url.clone(), user: self.user.clone(), password, timeout: self.timeout })
    }

    /// Writes settings.json into the daemon's configuration folder. Blocking.
    pub(crate) fn write_daemon_settings(
        &self,
        role: EngineRole,
        download_dir: &Path,
        folder: &Path,
    ) -> Result<(), DaemonSettingsError> {
        let port = reqwest::Url::parse(&self.url).ok().and_then(|url| url.port_or_known_default());
        let options = DaemonOptions {
            rpc_port: port.ok_or_else(|| DaemonSettingsError::Address(self.url.clone()))?,
            rpc_user: self.user.clone(),
            rpc_password: self.settings()?.password,
            // The machine has one network, its site's.
            bind_address: Ipv4Addr::UNSPECIFIED,
            download_dir: download_dir.to_owned(),
            ..DaemonOptions::default()
        };
        Ok(write_daemon_settings(folder, &daemon_settings(role, &options))?)
    }
}
