//! Prompts for a password on the terminal without echo.

use std::fs::{File, OpenOptions};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::Path;

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use service_kit::Secret;
use service_kit::config::read_secret_file;

use crate::failure::Failure;

/// Longest accepted line, in bytes.
const MAX_LINE: u64 = 4096;

/// Restores the terminal's echo when dropped.
struct Hidden<'a> {
    screen: &'a File,
    before: Termios,
}

impl Drop for Hidden<'_> {
    fn drop(&mut self) {
        let _ = tcsetattr(self.screen, OptionalActions::Flush, &self.before);
    }
}

/// Reads a password from the file, or prompts for it.
pub(crate) fn password(file: Option<&Path>, prompt: &str, option: &str) -> Result<Secret, Failure> {
    match file {
        Some(file) => Ok(read_secret_file(file)?),
        None => on_screen(prompt, option),
    }
}

/// Reads a new password from the file, or prompts for it twice.
pub(crate) fn new_password(file: Option<&Path>) -> Result<Secret, Failure> {
    let first = password(file, "New password: ", "--password-file")?;
    if file.is_none() && first != on_screen("Repeat the new password: ", "--password-file")? {
        return Err(Failure::said("The two passwords differ", "Try again."));
    }
    Ok(first)
}

fn on_screen(prompt: &str, option: &str) -> Result<Secret, Failure> {
    let nowhere = || {
        let remedy = format!("Give a file with the password: {option} FILE.");
        Failure::said("There is no terminal to prompt for the password on", remedy)
    };
    // Not standard input, which may carry data.
    let mut screen = OpenOptions::new().read(true).write(true).open("/dev/tty").map_err(|_| nowhere())?;
    let line = {
        let before = tcgetattr(&screen).map_err(|_| nowhere())?;
        let mut hidden = before.clone();
        hidden.local_modes.remove(LocalModes::ECHO);
        tcsetattr(&screen, OptionalActions::Flush, &hidden).map_err(|_| nowhere())?;
        let _hidden = Hidden { screen: &screen, before };
        // After echo is off, so that input after the prompt is neither shown nor lost.
        (&screen).write_all(prompt.as_bytes()).map_err(|source| Failure::Write { path: "/dev/tty".into(), source })?;
        let mut line = String::new();
        let read = BufReader::new((&screen).take(MAX_LINE)).read_line(&mut line);
        read.map_err(Failure::read(Path::new("/dev/tty")))?;
        line
    };
    let _ = screen.write_all(b"\n");
    match line.trim_end_matches(['\r', '\n']) {
        "" => Err(Failure::said("No password was given", "Type it and press Enter.")),
        text => Ok(Secret::new(text)),
    }
}
