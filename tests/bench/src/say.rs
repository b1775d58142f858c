//! Progress on standard error.

/// Prints what is being done.
pub(crate) fn say(what: impl std::fmt::Display) {
    eprintln!("bench: {what}");
}
