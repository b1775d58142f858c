//! A virtual machine's console at a person's own terminal: what it says, and to it what is typed, a line at a time.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

use anyhow::Context;

/// Joins both until the machine's process ends, or Ctrl-C.
pub(crate) fn attach(folder: &Path, terminal: &str) -> anyhow::Result<()> {
    let path = lab::order(folder, &["console".to_owned(), terminal.to_owned()])?;
    let path = path.trim();
    let stream = UnixStream::connect(path).with_context(|| format!("cannot reach the console at {path}"))?;
    eprintln!("This is the console of {terminal}; Ctrl-C leaves it, and the machine as it is.");
    let mut typed = stream.try_clone().context("cannot use the console twice")?;
    std::thread::spawn(move || copy(&mut std::io::stdin().lock(), &mut typed));
    copy(&mut &stream, &mut std::io::stdout().lock()).context("the console is gone")
}

/// As `std::io::copy`, but nothing waits for a line's end.
fn copy(from: &mut dyn Read, to: &mut dyn Write) -> std::io::Result<()> {
    let mut buffer = [0; 4096];
    loop {
        let length = from.read(&mut buffer)?;
        if length == 0 {
            return Ok(());
        }
        to.write_all(&buffer[..length])?;
        to.flush()?;
    }
}
