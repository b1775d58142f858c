//! The commands, one file per subject.

pub(crate) mod audit;
pub(crate) mod fleet;
pub(crate) mod incidents;
pub(crate) mod kit;
pub(crate) mod login;
pub(crate) mod operators;
pub(crate) mod release;
pub(crate) mod releases;
mod signatures;
pub(crate) mod tokens;
pub(crate) mod torrent;
pub(crate) mod trust;
