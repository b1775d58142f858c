//! Names a hostile archive.

use crate::case::{Hostile, Reader};

/// A hostile archive and the code of its refusal.
pub(super) fn archive(name: &'static str, code: &'static str, bytes: impl Into<Vec<u8>>) -> Hostile {
    Hostile::new(Reader::Archive, name, code, bytes)
}
