//! The set of artifacts whose complete files are being hashed.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use fleet_types::Digest;

/// The checks that are running.
#[derive(Debug, Default)]
pub struct Checks(Mutex<BTreeSet<Digest>>);

impl Checks {
    /// Whether the artifact's file is being hashed.
    pub fn is_running(&self, artifact: &Digest) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains(artifact)
    }

    /// Registers a check; false if one is running already.
    pub fn begin(&self, artifact: Digest) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(artifact)
    }

    /// Removes a check.
    pub fn end(&self, artifact: &Digest) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(artifact);
    }
}
