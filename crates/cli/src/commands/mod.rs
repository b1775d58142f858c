//! One file per subject: parse, call, answer.

pub(crate) mod fleet;
pub(crate) mod incidents;
pub(crate) mod release;
mod releases;
pub(crate) mod torrent;
pub(crate) mod trust;

pub(crate) use releases::{called, fetch};
