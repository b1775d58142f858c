//! Alerts: conditions that need an operator's attention, shown in `/v1/status` until they end.

use std::sync::{Mutex, PoisonError};

use wire::v1::status::Alert;

/// Most alerts that are shown.
const MAX_SHOWN: usize = 100;

/// The alerts of the last look.
#[derive(Debug, Default)]
pub struct Alerts(Mutex<Vec<Alert>>);

impl Alerts {
    /// These, and no others, are to be looked at.
    pub fn set(&self, alerts: impl Iterator<Item = Alert>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = alerts.take(MAX_SHOWN).collect();
    }

    /// What is to be looked at now.
    pub fn now(&self) -> Vec<Alert> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
