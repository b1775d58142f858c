//! `with-postgres [--] COMMAND [ARGUMENT…]`: starts one throwaway PostgreSQL, tells COMMAND about it in the
//! environment and ends as it ends. So a whole test run shares one cluster.

use std::os::unix::process::ExitStatusExt;
use std::process::ExitCode;

use anyhow::Context;
use test_kit::{Cluster, SHARED_CLUSTER};
use tokio::signal::unix::{SignalKind, signal};

#[tokio::main(flavor = "current_thread")]
#[expect(clippy::disallowed_methods, reason = "running a command is what this program is for")]
async fn main() -> anyhow::Result<ExitCode> {
    let mut arguments = std::env::args_os().skip(1).peekable();
    if arguments.peek().is_some_and(|a| a == "--") {
        arguments.next();
    }
    let Some(program) = arguments.next() else {
        eprintln!("usage: with-postgres [--] COMMAND [ARGUMENT…]");
        return Ok(ExitCode::from(2));
    };
    let cluster = Cluster::start()?;
    let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let mut child = tokio::process::Command::new(&program)
        .args(arguments)
        .env(SHARED_CLUSTER, cluster.parameters())
        .spawn()
        .with_context(|| format!("cannot run {}", program.display()))?;
    let status = loop {
        tokio::select! {
            status = child.wait() => break status?,
            // The terminal sends Ctrl-C to both; wait for the command, then remove the cluster.
            _ = int.recv() => {}
            _ = term.recv() => {
                let pid = child.id().and_then(|id| rustix::process::Pid::from_raw(i32::try_from(id).ok()?));
                if let Some(pid) = pid {
                    let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
                }
            }
        }
    };
    drop(cluster);
    let code = status.code().or_else(|| status.signal().map(|s| 128 + s)).unwrap_or(1);
    Ok(ExitCode::from(u8::try_from(code).unwrap_or(1)))
}
