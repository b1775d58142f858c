//! Who may say what, and how it is proven.
//!
//! What exists is signed by release keys that stay offline ([`repository`], TUF); what a branch should run is signed by
//! head office ([`plans`], DSSE; read by [`planned`]); a machine says who it is by a certificate. A terminal needs all of it.
//!
//! This crate must never read a clock, the environment or the network: the time is an argument, bytes come through a
//! [`client::Fetch`] of the caller. Every refusal is a [`Refusal`] with a stable code, a sentence and a remedy.

pub mod certificates;
pub mod client;
pub mod keys;
mod metadata;
pub mod planned;
pub mod plans;
mod refusal;
pub mod repository;

pub use keys::{KeyId, KeySet, PublicKey, SigningKey};
pub use refusal::{Refusal, Why};
