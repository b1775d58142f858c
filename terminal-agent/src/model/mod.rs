//! What decisions are made of, as values. Pure: no clock, no I/O, and nothing else of this program.

pub mod boots;
pub mod event;
pub mod health;
pub mod identity;
pub mod limits;
pub mod memory;
pub mod package;
pub mod reasons;
pub mod request;
pub mod seen;
pub mod state;
pub mod update;
pub mod wanted;
