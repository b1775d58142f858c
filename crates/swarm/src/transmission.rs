//! transmission-daemon: the engine over its RPC, its settings, and what it needs to be looked after.
//!
//! The daemon does not say who sent bad data, bans whoever shares five bad pieces, hangs up on peers that were complete
//! once, and comes back to a tracker when the tracker said so. [`memory`] judges that from outside.

mod answers;
mod blame;
mod daemon;
mod engine;
mod guard;
mod inputs;
mod memory;
mod refused;
mod remedies;
mod rpc;
mod shunned;
mod stalls;

pub use daemon::{DaemonOptions, Encryption, SettingsError, daemon_arguments, daemon_settings, write_daemon_settings};
pub use engine::TransmissionEngine;
pub use inputs::{DaemonSettingsError, TransmissionAccess, TransmissionInputs};

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
