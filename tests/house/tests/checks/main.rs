//! Every check finds what breaks its rule in a small tree, and leaves alone what only looks like it.

#![allow(clippy::unwrap_used, reason = "a test that cannot be set up fails")]

mod circles;
mod compositions;
mod folders;
mod lists;
mod program;
mod pure;
mod texts;
mod tree;
mod words;
