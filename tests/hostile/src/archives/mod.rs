//! Update archives.

mod manifests;
mod members;
mod records;
mod shape;

use crate::{Hostile, Reader};

/// Every hostile update archive.
pub fn archives() -> Vec<Hostile> {
    [shape::all(), members::all(), records::all(), manifests::all()].concat()
}

fn archive(name: &'static str, code: &'static str, bytes: impl Into<Vec<u8>>) -> Hostile {
    Hostile::new(Reader::Archive, name, code, bytes)
}
