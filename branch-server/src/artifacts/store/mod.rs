//! Artifacts on disk: the folder, and whole files that are brought by hand.

mod arrival;
mod folder;

pub use arrival::Arrival;
pub use folder::{Store, StoreError};
