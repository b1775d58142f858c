//! Filial's own BitTorrent engine: a pure core that decides, and thin input and output around it.
//!
//! - [`wire`]: the protocol's messages (BEP 3), read within bounds and written.
//! - [`events`]: what the core is told and what it asks for.
//! - [`swarm`]: one torrent's [`Core`], which joins the two sides: `picker` (which piece to fetch from whom) and `reveal`
//!   (which piece to show to whom).
//!
//! The core reads no clock and no socket: every event comes with the time since the engine started, so that a simulator
//! drives it exactly as the network does.

#[allow(dead_code, reason = "the engine will be composed of it")]
mod announce;
mod bits;
#[allow(dead_code, reason = "the engine will be composed of it")]
mod connection;
#[allow(dead_code, reason = "the engine will be composed of it")]
mod dials;
pub mod events;
#[allow(dead_code, reason = "the engine will be composed of it")]
mod lanes;
#[allow(dead_code, reason = "the engine will be composed of it")]
mod ledger;
#[allow(dead_code, reason = "the engine will be composed of it")]
mod net;
#[allow(dead_code, reason = "the engine will be composed of it")]
mod networks;
mod part;
mod peer;
mod picker;
mod random;
#[allow(dead_code, reason = "the engine will be composed of it")]
mod rate;
#[allow(dead_code, reason = "the engine will be composed of it")]
mod resume;
mod reveal;
pub mod shape;
#[allow(dead_code, reason = "the engine will be composed of it")]
mod state;
#[allow(dead_code, reason = "the engine will be composed of it")]
mod storage;
mod suspects;
pub mod swarm;
#[cfg(test)]
mod tests;
#[allow(dead_code, reason = "the engine will be composed of it")]
mod verify;
pub mod wire;

pub use events::{Action, Closing, ConnectionId, Event};
pub use networks::{Network, NetworkError};
pub use peer::Counters;
pub use shape::{BLOCK_LENGTH, Block, LONGEST_REQUEST, Shape};
pub use swarm::{Core, Mode, PeerStatus, Policy};
pub use wire::{Decoder, HANDSHAKE_LENGTH, Handshake, Message, WireError, encode};
