//! What the agent asks of the root helper, and what the helper answers.

use std::collections::BTreeMap;
use std::time::Duration;

use bootslot::BootState;
use fleet_types::{Digest, ProductName, Slot};
use serde::Serialize;
use wire::Envelope;

/// What the agent may ask.
///
/// Nothing here names a device, a slot to be written, a number of attempts or a command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "ask", rename_all = "kebab-case")]
pub enum Request {
    /// The bootloader's state.
    Look,
    /// Accept this plan, by this metadata.
    ///
    /// Asked as soon as the agent accepted it, while the metadata is fresh.
    Accept(Evidence),
    /// Have the bootloader try the slot that does not run, which holds this.
    Activate(Order),
    /// The slot that runs becomes the default, and a trial of the other one ends.
    ///
    /// An unusable boot block is replaced.
    Settle,
    /// The slot that runs was on trial and is good.
    Confirm,
    /// The slot that runs is on trial and is not good: the other one boots next.
    GiveUp,
    /// Restart the machine.
    Restart,
    /// Length of a slot in bytes.
    Length {
        /// Which slot.
        slot: Slot,
    },
    /// Write the body into the slot that does not run. Durable after `Sync`.
    Write {
        /// Where, in bytes.
        offset: u64,
    },
    /// Read from the slot that does not run.
    Read {
        /// From where, in bytes.
        offset: u64,
        /// How much, in bytes; at most one segment.
        length: u32,
    },
    /// Compare the slot that runs with what was ordered for it: it was delivered, and never on trial here.
    CheckRunning(Order),
    /// Answer once everything written to that slot survives a power cut.
    Sync,
    /// Have what is read next come from the medium, as far as that can be had.
    DropCaches,
}

/// Why a plan is to be believed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Evidence {
    /// The files of the agent's trust store by name.
    pub metadata: BTreeMap<String, String>,
    /// The plan as head office signed it.
    pub plan: Envelope,
}

/// What is to be tried.
///
/// That it was ordered is looked up in the plan; that the slot holds it is read from the slot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Order {
    /// The product.
    pub product: ProductName,
    /// SHA-256 of `release.toml`.
    pub manifest: Digest,
    /// SHA-256 of the payload.
    pub payload: Digest,
}

/// What the helper answers to what it did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// It is done.
    Done,
    /// To `Look`.
    Boot(BootState),
    /// To `Length`, in bytes.
    Length(u64),
    /// To `Read`.
    Bytes(Vec<u8>),
}

impl Request {
    /// How long the agent waits for the answer: what reads or syncs a whole slot takes its time.
    pub const fn patience(&self) -> Duration {
        Duration::from_secs(match self {
            Self::Activate(_) | Self::CheckRunning(_) => 3600,
            Self::Accept(_) | Self::Restart | Self::Sync | Self::DropCaches => 600,
            _ => 60,
        })
    }
}
