//! Every message between the programs of Filial, and nothing else.
//!
//! `v1/` is what crosses a network: once released it is never edited, only joined by a `v2/`. This crate must
//! never do I/O and never hold behaviour beyond what a message needs to be read, checked and written.

mod code;
mod dsse;
pub mod reason;
pub mod v1;

pub use code::{Code, Problem};
pub use dsse::{Envelope, EnvelopeError, MAX_ENVELOPE, PLAN_PAYLOAD_TYPE, Signature};
pub use reason::{MAX_REASON_LEN, Params, Reason, ReasonCode, clip_reason, sentences};

/// Whether a character moves nothing on a screen: no control character, and none that turns the direction of text.
pub(crate) fn is_plain(c: char) -> bool {
    !c.is_control()
        && !matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// Returns `text` with a space for each character that would move something on a screen.
pub(crate) fn printable(text: &str) -> String {
    text.chars().map(|c| if is_plain(c) { c } else { ' ' }).collect()
}
