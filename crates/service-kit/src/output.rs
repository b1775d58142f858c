//! Standard output of commands: a reader that closed the pipe (`openapi | head`) ends the program quietly.

use std::io::{self, Write as _};

/// Standard output cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("Cannot write to standard output: check free space and permissions of the file it leads to")]
pub struct OutputError(#[source] pub io::Error);

impl OutputError {
    /// Returns whether the reader closed the pipe, which is not a failure: it has read what it wanted.
    pub fn is_closed(&self) -> bool {
        self.0.kind() == io::ErrorKind::BrokenPipe
    }
}

/// Writes `text` to standard output as it is.
///
/// # Errors
/// It cannot be written, or its reader closed the pipe.
pub fn write(text: &str) -> Result<(), OutputError> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(OutputError)
}

/// Writes `text` and a line end to standard output, without anything that moves something on a screen but ends of lines and
/// tabulators: it may repeat what came from elsewhere.
///
/// # Errors
/// As [`write`].
pub fn line(text: impl std::fmt::Display) -> Result<(), OutputError> {
    write(&format!("{}\n", still(&text.to_string())))
}

/// Writes `text` to standard error, if that has a reader; as [`line`] writes it.
pub fn complain(text: &str) {
    // Nothing is left to tell it to.
    let _ = io::stderr().lock().write_all(still(text).as_bytes());
}

fn still(text: &str) -> String {
    text.chars().map(|c| if matches!(c, '\n' | '\t') || fleet_types::is_plain(c) { c } else { ' ' }).collect()
}
