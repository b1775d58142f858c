//! Wake-up calls between the parts of this process.

use tokio::sync::Notify;

/// Wakes background work. A lost call costs one interval.
#[derive(Debug, Default)]
pub struct Signals {
    /// Head office has something new.
    pub sync: Notify,
    /// The artifacts need a pass.
    pub pass: Notify,
    /// Reports are queued for head office.
    pub relay: Notify,
}
