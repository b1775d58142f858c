//! Version 1 of the messages.
//!
//! Operators speak to head office with [`operators`], [`releases`], [`fleet`], [`audit`] and [`status`]; branch servers with [`sync`] and
//! [`reports`], or by hand with a [`kit`]; terminals speak to their branch server with [`sync`] (the same plan, verbatim) and [`reports`].

pub mod audit;
pub mod confirmed;
pub mod evidence;
pub mod fleet;
pub mod incidents;
pub mod kit;
pub mod numbering;
pub mod operators;
pub mod paths;
pub mod plan;
pub mod releases;
pub mod reports;
pub mod shape;
pub mod status;
pub mod sync;
