//! Update archives.

mod archive;
mod manifests;
mod members;
mod records;
mod shape;

use crate::case::Hostile;

/// Every hostile update archive.
pub fn archives() -> Vec<Hostile> {
    [shape::all(), members::all(), records::all(), manifests::all()].concat()
}
