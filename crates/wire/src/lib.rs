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
