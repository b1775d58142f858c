//! The command of `terminal-agent run`: in the foreground, with this process's own input and output.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::{CommandExt as _, ExitStatusExt};
use std::path::Path;
use std::process::ExitStatus;

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};

/// Starts this program again, with the same arguments, as the user whose folder `folder` is; nothing happens if this process is
/// not root's or the folder is.
///
/// What lies in that folder is that user's: root neither follows it nor runs anything from it. Call it before anything there
/// is opened.
///
/// # Errors
/// It cannot be started.
pub fn become_owner_of(folder: &Path) -> io::Result<()> {
    if !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let owner = match std::fs::symlink_metadata(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        // Root has put the folder elsewhere. Another user's link leads where that user likes.
        Ok(link) if link.is_symlink() && link.uid() == 0 => std::fs::metadata(folder)?,
        found => found?,
    };
    if owner.uid() == 0 {
        return Ok(());
    }
    #[expect(clippy::disallowed_methods, reason = "this is the adapter that spawns")]
    let mut again = std::process::Command::new("/proc/self/exe");
    // Without root's other groups too: the library drops them with the user.
    Err(again.args(std::env::args_os().skip(1)).gid(owner.gid()).uid(owner.uid()).exec())
}

/// Runs a command in `folder` to its end, and returns its exit code.
///
/// 128 + n if signal n ended it. Signals that ask this process to end are passed on.
///
/// # Errors
/// It cannot be started.
pub async fn run(command: &[OsString], folder: &Path, environment: &[(&str, &OsStr)]) -> io::Result<u8> {
    let [program, arguments @ ..] = command else { return Err(io::Error::other("no command")) };
    let mut asked = [signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?, signal(SignalKind::hangup())?];
    let [terminate, interrupt, hangup] = &mut asked;
    #[expect(clippy::disallowed_methods, reason = "this is the adapter that spawns")]
    let mut child =
        Command::new(program).args(arguments).current_dir(folder).envs(environment.iter().copied()).spawn()?;
    loop {
        tokio::select! {
            ended = child.wait() => return Ok(code(ended?)),
            _ = terminate.recv() => pass_on(&child, Signal::TERM),
            // From a terminal the command gets it too.
            _ = interrupt.recv() => {}
            _ = hangup.recv() => pass_on(&child, Signal::HUP),
        }
    }
}

fn pass_on(child: &Child, signal: Signal) {
    let child = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    if let Some(Err(error)) = child.map(|child| kill_process(child, signal)) {
        tracing::warn!(%error, "the command could not be told to end");
    }
}

fn code(status: ExitStatus) -> u8 {
    let code = status.code().or_else(|| status.signal().map(|n| 128 + n)).unwrap_or(1);
    u8::try_from(code).unwrap_or(u8::MAX)
}
