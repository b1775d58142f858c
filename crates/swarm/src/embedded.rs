//! Filial's own BitTorrent engine: a pure core that decides, and thin input and output around it.
//!
//! - [`wire`]: the protocol's messages (BEP 3), read within bounds and written.
//! - [`events`]: what the core is told and what it asks for.
//! - [`swarm`]: one torrent's [`Core`], which joins the two sides: `picker` (which piece to fetch from whom) and `reveal`
//!   (which piece to show to whom).
//! - [`EmbeddedEngine`]: the [`Engine`](crate::Engine) around it, with one task a torrent, one a connection, and jobs on the blocking pool.
//!
//! The core reads no clock and no socket: every event comes with the time since the engine started, so that a simulator
//! drives it exactly as the network does.

mod announce;
mod bits;
mod command;
mod connection;
mod content;
mod dials;
mod engine;
pub mod events;
mod jobs;
mod joining;
mod lanes;
mod ledger;
mod net;
mod networks;
mod part;
mod peer;
mod peers;
mod picker;
mod random;
mod rate;
mod resume;
mod reveal;
mod roles;
mod run;
pub mod shape;
mod shared;
mod state;
mod storage;
mod suspects;
pub mod swarm;
mod task;
#[cfg(test)]
mod tests;
mod verify;
pub mod wire;

pub use engine::EmbeddedEngine;
pub use events::{Action, Closing, ConnectionId, Event};
pub use ledger::Source;
pub use networks::{Network, NetworkError};
pub use peer::Counters;
pub use shape::{BLOCK_LENGTH, Block, LONGEST_REQUEST, Shape};
pub use shared::EmbeddedSettings;
pub use swarm::{Core, Mode, PeerStatus, Policy};
pub use wire::{Decoder, HANDSHAKE_LENGTH, Handshake, Message, WireError, encode};
