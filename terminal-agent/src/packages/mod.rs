//! Packages: payloads that do not go into a slot. The plan names them beside the steps of the slot; they are fetched the
//! same way, checked, and unpacked whole or not at all into a separate folder, for `terminal-agent run`.
//!
//! A turn performs one action while the slot is at rest, so that no update ever waits for a package.

pub mod act;
pub mod decide;
pub mod observe;
pub mod place;
pub mod prepare;
pub mod sweep;
pub mod turn;
pub mod wrapper;
