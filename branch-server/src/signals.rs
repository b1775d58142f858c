//! Wake-up calls between the parts of this process.

use std::sync::Arc;

use tokio::sync::Notify;

/// Wakes background work. A lost call costs one interval.
#[derive(Debug, Default)]
pub struct Signals {
    /// Head office has something new.
    pub sync: Arc<Notify>,
    /// The artifacts need a pass.
    pub pass: Arc<Notify>,
    /// Reports are queued for head office.
    pub relay: Arc<Notify>,
}
