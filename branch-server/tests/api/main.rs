//! The branch server from outside, with real PostgreSQL: one file a route or a subject.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, also in its helpers")]

mod artifacts;
mod attacks;
mod console;
mod daemons;
mod engines;
mod enrol;
mod events;
mod evidence;
mod fixture;
mod head_office;
mod holders;
mod hostile;
mod identities;
mod joining;
mod kit;
mod metadata;
mod numbering;
mod operators;
mod plans;
mod proofs;
mod relay;
mod reports;
mod room;
mod stages;
mod statements;
mod support;
mod survival;
mod sync;
mod table;
mod tls;
