//! Attacks on the real programs, each for some seconds, while honest callers go on working.
//!
//! The honest callers are never refused, everything that they reported arrives, and the servers' memory stays bounded. Ten seconds
//! each in `make test`; `make attack` runs each for a minute and prints how long honest callers waited, beside a quiet baseline.
#![expect(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests; those that start programs are processes")]

#[path = "../support/mod.rs"]
mod support;

mod attacks;
mod honest;
mod site;
