//! `[engine]`: which BitTorrent engine a program uses. The only place that turns a configuration into an [`Engine`].

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;
use service_kit::config::ConfigError;

use crate::transmission::{DaemonSettingsError, TransmissionAccess, TransmissionInputs};
use crate::{Engine, EngineError, EngineRole, TransmissionEngine, TransmissionSettings};

/// `[engine]` as written: every key optional, unknown keys refused.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EngineInputs {
    /// Which engine: `transmission`, which is the default.
    pub kind: Option<String>,
    /// Where the engine of a terminal keeps artifacts. The other programs have a store.
    pub download_dir: Option<PathBuf>,
    /// The keys of transmission-daemon.
    pub transmission: TransmissionInputs,
}

impl EngineInputs {
    /// Checks the values; no secret is read yet. `download_dir` of a terminal is the caller's to check.
    ///
    /// # Errors
    /// A value is absent or cannot be used.
    pub fn check(self, role: EngineRole) -> Result<EngineConfig, ConfigError> {
        if role != EngineRole::Terminal && self.download_dir.is_some() {
            let why = "is a key of terminals only: remove it, artifacts are kept in store.folder";
            return Err(ConfigError::bad("engine.download_dir", why));
        }
        match self.kind.as_deref() {
            None | Some("transmission") => Ok(EngineConfig::Transmission(self.transmission.check(role)?)),
            Some(other) => {
                let why =
                    format!("{other:?} is not an engine of this version; write for example: kind = \"transmission\"");
                Err(ConfigError::bad("engine.kind", why))
            }
        }
    }
}

/// The engine that a program uses, checked. Its secrets are not read, so that any of a machine's programs may have it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EngineConfig {
    /// transmission-daemon, over its RPC.
    Transmission(TransmissionAccess),
}

impl EngineConfig {
    /// Reads the secrets. Blocking.
    ///
    /// # Errors
    /// A file with a secret cannot be read, or is empty.
    pub fn with_secrets(&self) -> Result<EngineSettings, ConfigError> {
        match self {
            Self::Transmission(access) => Ok(EngineSettings::Transmission(access.settings()?)),
        }
    }

    /// The file that holds its secret.
    pub fn secret_file(&self) -> &Path {
        match self {
            Self::Transmission(access) => &access.password_file,
        }
    }

    /// Writes the settings of the engine's daemon into its configuration folder. Blocking.
    ///
    /// # Errors
    /// A secret cannot be read, the daemon runs, or the file cannot be written.
    pub fn write_daemon_settings(
        &self,
        role: EngineRole,
        download_dir: &Path,
        folder: &Path,
    ) -> Result<(), DaemonSettingsError> {
        match self {
            Self::Transmission(access) => access.write_daemon_settings(role, download_dir, folder),
        }
    }
}

/// Everything that an engine is opened with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EngineSettings {
    /// transmission-daemon, over its RPC.
    Transmission(TransmissionSettings),
}

impl EngineSettings {
    /// Opens the engine. Does not connect yet.
    ///
    /// # Errors
    /// The settings cannot make an engine.
    pub fn open(&self) -> Result<Arc<dyn Engine>, EngineError> {
        match self {
            Self::Transmission(settings) => Ok(Arc::new(TransmissionEngine::new(settings.clone())?)),
        }
    }
}

#[cfg(test)]
#[path = "settings_tests.rs"]
mod tests;
