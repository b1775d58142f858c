//! The life of a release: judged, signed, published, withdrawn, removed.
#![expect(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests write plain files")]

mod judging;
mod publishing;
mod retention;
pub mod signing;
mod withdrawing;
