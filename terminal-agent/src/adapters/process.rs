//! A child process with a time limit, whose output is kept up to a bound.

use std::ffi::OsStr;
use std::future::Future;
use std::io;
use std::pin::pin;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Command;

/// How long a program's output is read after its end.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// How a program ended, and what it said.
pub(super) struct Ended {
    /// `None`: it was killed at its time limit.
    pub(super) status: Option<ExitStatus>,
    /// The last of standard output.
    pub(super) output: Vec<u8>,
    /// The last of standard error.
    pub(super) errors: Vec<u8>,
}

/// Runs a program to its end or its limit, and keeps the last `keep` bytes of each output.
#[expect(clippy::disallowed_methods, reason = "this is the adapter that spawns")]
pub(super) async fn run(program: &OsStr, arguments: &[String], limit: Duration, keep: usize) -> io::Result<Ended> {
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()?;
    let group = child.id();
    let (mut output, mut errors) = (Vec::new(), Vec::new());
    let ended = {
        let (out, err) = (child.stdout.take(), child.stderr.take());
        let reading = async {
            tokio::join!(tail(out, &mut output, keep), tail(err, &mut errors, keep));
        };
        tokio::time::timeout(limit, end_of(child.wait(), reading)).await
    };
    let status = match ended {
        Ok(status) => Some(status?),
        Err(_) => {
            kill_group(group);
            child.wait().await?;
            None
        }
    };
    Ok(Ended { status, output, errors })
}

/// Reads while the program runs, and a moment longer.
///
/// A child that it left behind may hold its output open for ever.
async fn end_of<T>(program: impl Future<Output = T>, reading: impl Future<Output = ()>) -> T {
    let (mut program, mut reading) = (pin!(program), pin!(reading));
    let mut read = false;
    let status = loop {
        tokio::select! {
            status = &mut program => break status,
            () = &mut reading, if !read => read = true,
        }
    };
    if !read {
        let _ = tokio::time::timeout(LAST_WORDS, reading).await;
    }
    status
}

/// Its children too: a shell script's `sleep` must not outlive it.
fn kill_group(group: Option<u32>) {
    let group = group.and_then(|g| i32::try_from(g).ok()).and_then(rustix::process::Pid::from_raw);
    if let Some(group) = group
        && let Err(error) = rustix::process::kill_process_group(group, rustix::process::Signal::KILL)
    {
        tracing::warn!(%error, "a program that overran its time could not be killed");
    }
}

async fn tail(from: Option<impl AsyncRead + Unpin>, into: &mut Vec<u8>, keep: usize) {
    let Some(mut from) = from else { return };
    let mut buffer = vec![0; 4096];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        into.extend_from_slice(&buffer[..read]);
        let excess = into.len().saturating_sub(keep);
        into.drain(..excess);
    }
}

/// The last line or so of what a program said, fit for a sentence.
pub(super) fn printable(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let text: String = text.trim().chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
