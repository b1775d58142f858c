//! Every parser of strangers' bytes as a target, and a runner that mutates files until one misbehaves.
//!
//! A target never fails because its input is refused, only because a parser panicked, took what it must not, or said
//! two things about the same bytes. Everything follows from the seed: the same seed and count give the same inputs.

mod campaign;
mod mutate;
mod targets;

pub use campaign::{Campaign, Failure, seeds};
pub use mutate::Rng;
pub use targets::{TARGETS, Target, find, of_reader};
