//! Asking for a password on the screen, without showing it.

use std::fs::{File, OpenOptions};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::Path;

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use service_kit::Secret;
use service_kit::config::read_secret_file;

use crate::failure::Failure;

/// Longest line that is taken, in bytes.
const MAX_LINE: u64 = 4096;

/// Shows what is typed again, whatever happens.
struct Hidden<'a> {
    screen: &'a File,
    before: Termios,
}

impl Drop for Hidden<'_> {
    fn drop(&mut self) {
        let _ = tcsetattr(self.screen, OptionalActions::Flush, &self.before);
    }
}

/// A password out of the file, or asked for.
pub(crate) fn password(file: Option<&Path>, prompt: &str, option: &str) -> Result<Secret, Failure> {
    match file {
        Some(file) => Ok(read_secret_file(file)?),
        None => on_screen(prompt, option),
    }
}

/// A new password out of the file, or asked for twice.
pub(crate) fn new_password(file: Option<&Path>) -> Result<Secret, Failure> {
    let first = password(file, "New password: ", "--password-file")?;
    if file.is_none() && first != on_screen("The same again: ", "--password-file")? {
        return Err(Failure::said("The two passwords differ", "Try again."));
    }
    Ok(first)
}

fn on_screen(prompt: &str, option: &str) -> Result<Secret, Failure> {
    let nowhere = || {
        let remedy = format!("Name a file with the password by {option}.");
        Failure::said("There is no screen to ask for the password on", remedy)
    };
    // Not standard input: that may be something else's.
    let mut screen = OpenOptions::new().read(true).write(true).open("/dev/tty").map_err(|_| nowhere())?;
    let line = {
        let before = tcgetattr(&screen).map_err(|_| nowhere())?;
        let mut hidden = before.clone();
        hidden.local_modes.remove(LocalModes::ECHO);
        tcsetattr(&screen, OptionalActions::Flush, &hidden).map_err(|_| nowhere())?;
        let _hidden = Hidden { screen: &screen, before };
        // Only now: what is typed after the question is not shown, and not thrown away.
        (&screen).write_all(prompt.as_bytes()).map_err(Failure::Output)?;
        let mut line = String::new();
        let read = BufReader::new((&screen).take(MAX_LINE)).read_line(&mut line);
        read.map_err(Failure::read(Path::new("/dev/tty")))?;
        line
    };
    let _ = screen.write_all(b"\n");
    match line.trim_end_matches(['\r', '\n']) {
        "" => Err(Failure::said("No password was given", "Type it and end it with Enter.")),
        text => Ok(Secret::new(text)),
    }
}
