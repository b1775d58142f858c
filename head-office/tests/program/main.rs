//! The real program as a process: killed at every step, its uploads cut, frozen and fought over.

#[path = "../support/mod.rs"]
mod support;

mod killed;
mod uploads_cut;
