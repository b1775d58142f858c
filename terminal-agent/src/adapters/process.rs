//! Programs of this machine with a time limit; the last of what they print is kept.

use std::ffi::OsStr;
use std::time::Duration;

use service_kit::process::{self, Bounds, Ended, Keep, Leftovers, RunError};
use tokio::process::Command;

/// Runs a program to its end or its limit, and keeps the last `keep` bytes of each output.
///
/// What it leaves behind goes on: a command that restarts the machine may do so in the background.
#[expect(clippy::disallowed_methods, reason = "this is the adapter that spawns")]
pub(super) async fn run(
    program: &OsStr,
    arguments: &[String],
    limit: Duration,
    keep: usize,
) -> Result<Ended, RunError> {
    let mut command = Command::new(program);
    command.args(arguments);
    let keep = Keep::Last(keep);
    process::run(command, &[], Bounds { limit, output: keep, errors: keep, leftovers: Leftovers::GoOn }).await
}
