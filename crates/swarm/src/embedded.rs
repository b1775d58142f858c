//! Filial's own BitTorrent engine: a pure core that decides, and thin input and output around it.
//!
//! - [`wire`]: the protocol's messages (BEP 3), read within bounds and written.
//! - [`events`]: what the core is told and what it asks for.
//!
//! The core reads no clock and no socket: every event comes with the time since the engine started, so that a simulator
//! drives it exactly as the network does.

pub mod events;
pub mod shape;
pub mod wire;

pub use events::{Action, Closing, ConnectionId, Event};
pub use shape::{BLOCK_LENGTH, Block, LONGEST_REQUEST, Shape};
pub use wire::{Decoder, HANDSHAKE_LENGTH, Handshake, Message, WireError, encode};
