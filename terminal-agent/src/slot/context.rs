//! What actions work with.

use crate::branch::plans::Plans;
use crate::config::agent::Settings;
use crate::memory::journal::Journal;
use crate::model::wanted::Recipient;
use crate::ports::Ports;

/// What actions work with, besides the session.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// The world.
    pub ports: &'a Ports,
    /// The settings.
    pub settings: &'a Settings,
    /// The journal; its state names the update in hand.
    pub journal: &'a Journal,
    /// The plan that is followed.
    pub plans: &'a Plans,
    /// This terminal; `None` before it enrolled.
    pub recipient: Option<&'a Recipient>,
}
