//! transmission-daemon: the engine over its RPC, and its settings.

mod daemon;
mod engine;
mod refused;
mod remedies;
mod rpc;

pub use daemon::{DaemonOptions, DaemonRole, Encryption, SettingsError, daemon_settings, write_daemon_settings};
pub use engine::TransmissionEngine;

use std::time::Duration;

/// How to reach a transmission-daemon.
#[derive(Clone, PartialEq, Eq)]
pub struct TransmissionSettings {
    /// Its RPC address, such as `http://127.0.0.1:9091/transmission/rpc`.
    pub url: String,
    /// `rpc-username`.
    pub user: String,
    /// `rpc-password`, in clear; it is never logged.
    pub password: String,
    /// How long a call may take.
    pub timeout: Duration,
}

impl std::fmt::Debug for TransmissionSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TransmissionSettings")
            .field("url", &self.url)
            .field("user", &self.user)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}
