//! Reports: taken in from terminals, queued for and relayed to head office.

pub mod audit_head;
pub mod denials;
pub mod intake;
pub mod proofs;
pub mod relay;
pub mod reused;
pub mod shape;
