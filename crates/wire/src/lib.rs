//! Every message between the programs of Filial, and nothing else.
//!
//! `v1/` is what crosses a network: once released it is never edited, only joined by a `v2/`. This crate must
//! never do I/O and never hold behaviour beyond what a message needs to be read, checked and written.

mod code;
mod dsse;
pub mod v1;

pub use code::{Code, Problem};
pub use dsse::{Envelope, EnvelopeError, MAX_ENVELOPE, PLAN_PAYLOAD_TYPE, Signature};

/// Longest `reason` text in bytes that any listener accepts; longer ones are cut by the sender.
pub const MAX_REASON_LEN: usize = 1024;

/// `text` cut to [`MAX_REASON_LEN`] bytes at a character boundary.
pub fn clip_reason(text: &str) -> &str {
    &text[..text.floor_char_boundary(MAX_REASON_LEN)]
}
