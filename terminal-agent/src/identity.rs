//! Who this terminal is to its branch: kept in one file that only the agent reads.

use std::path::Path;

use fleet_types::BranchName;
use serde::{Deserialize, Serialize};
use service_kit::durable::{self, DurableError};
use service_kit::{Secret, config};

use crate::config::Settings;
use crate::wanted::Me;

/// The branch and the token that it gave.
#[derive(Debug, Clone)]
pub struct Identity {
    /// The branch.
    pub branch: BranchName,
    /// The bearer token.
    pub token: Secret,
}

#[derive(Serialize, Deserialize)]
struct File {
    branch: BranchName,
    token: String,
}

impl Identity {
    /// The identity in this file; none if there is no file or nothing usable in it (then it is asked for again).
    pub fn load(path: &Path) -> Option<Self> {
        if !path.exists() {
            return None;
        }
        let text = config::read_secret_file(path).map_err(|error| tracing::warn!(%error, "no usable identity")).ok()?;
        let file: File = serde_json::from_str(text.expose())
            .map_err(|error| tracing::warn!(%error, path = %path.display(), "no usable identity"))
            .ok()?;
        Some(Self { branch: file.branch, token: Secret::new(file.token) })
    }

    /// Keeps it, readable by its owner only.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn save(&self, path: &Path) -> Result<(), DurableError> {
        let file = File { branch: self.branch.clone(), token: self.token.expose().to_owned() };
        // Two plain texts always serialise.
        durable::write_secret_file(path, &serde_json::to_vec(&file).unwrap_or_default())
    }

    /// Who reads a plan with it.
    pub fn me(&self, settings: &Settings) -> Me {
        Me { branch: self.branch.clone(), name: settings.identity.name.clone() }
    }
}
