//! Progress on standard error.

use std::sync::OnceLock;
use std::time::Instant;

/// Prints progress with the seconds since the start.
pub(crate) fn say(what: impl std::fmt::Display) {
    static BEGUN: OnceLock<Instant> = OnceLock::new();
    eprintln!("powercut {:>6.1}: {what}", BEGUN.get_or_init(Instant::now).elapsed().as_secs_f64());
}
