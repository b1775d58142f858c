//! What head office says must not be let in, although this server does not know it: its database may be new.

use std::sync::{Mutex, PoisonError};

use fleet_types::TerminalName;
use service_kit::server::ApiError;
use trust::PublicKey;
use wire::Code;
use wire::v1::sync::DeniedMachines;

/// The list of head office's last answer, in memory.
#[derive(Debug, Default)]
pub struct Denied(Mutex<Option<DeniedMachines>>);

impl Denied {
    /// Keeps what head office answered; an answer without a list changes nothing.
    pub fn set(&self, denied: Option<DeniedMachines>) {
        if denied.is_some() {
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = denied;
        }
    }

    /// Whether the list names a terminal. False while there is none: a join token is enough then.
    pub fn names(&self, terminal: &TerminalName) -> bool {
        let held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        held.as_ref().is_some_and(|denied| denied.terminals.contains(terminal))
    }

    /// Whether the list names a key that was replaced by another. False while there is none.
    pub fn has_key(&self, key: &PublicKey) -> bool {
        let held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        held.as_ref().is_some_and(|denied| denied.keys.contains(&key.to_string()))
    }

    /// Returns the list, by which alone a former certificate can be judged.
    ///
    /// # Errors
    /// Head office has not told it since this server started.
    pub fn known(&self) -> Result<DeniedMachines, ApiError> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone().ok_or_else(|| {
            let detail = "This branch server has not heard from head office yet which terminals are denied.";
            ApiError::new(
                Code::NotReady,
                detail,
                "Try again once it has reached head office, or enrol with the join token.",
            )
        })
    }
}
