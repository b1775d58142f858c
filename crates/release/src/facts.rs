//! What is known of the fleet where the rules are evaluated.

use std::collections::BTreeMap;

use fleet_types::{ModelName, TerminalRef, Version};

/// The smallest slot of a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SmallestSlot {
    /// Its size in bytes.
    pub bytes: u64,
    /// Which terminal has it, if one does.
    pub terminal: Option<TerminalRef>,
}

impl SmallestSlot {
    /// A slot of `bytes`, of no terminal in particular.
    pub const fn new(bytes: u64) -> Self {
        Self { bytes, terminal: None }
    }
}

/// What is known of the fleet. `None` means: not known here, so that what depends on it is `unknown`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// The hardware models of the fleet, each with its smallest slot.
    pub models: Option<BTreeMap<ModelName, SmallestSlot>>,
    /// The versions of the release's product that were published so far, in any order.
    pub published: Option<Vec<Version>>,
}

impl Facts {
    /// Nothing is known: how an operator's own machine judges.
    pub const fn unknown() -> Self {
        Self { models: None, published: None }
    }
}
