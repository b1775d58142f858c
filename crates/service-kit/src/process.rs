//! Runs a child process with a deadline and bounded output, and ends what it started.
//!
//! Adapters make the command; this runs it in a process group of its own. The group is killed before its leader is reaped, so
//! that its number cannot meanwhile belong to another program.

use std::future::Future;
use std::io;
use std::pin::pin;
use std::process::{ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};

/// How long output is read after the program's end, at most to its time limit.
///
/// A process that the program left behind may hold its output open.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// How much of an output is kept, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// The first of it; the rest is read and dropped.
    First(usize),
    /// The last of it.
    Last(usize),
    /// All of it. A program that prints more is killed.
    AtMost(usize),
}

/// What becomes of processes that the program leaves behind when it ends in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leftovers {
    /// They are killed.
    Killed,
    /// They go on.
    GoOn,
}

/// The bounds of a child process.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Maximum run time; then everything in its process group is killed.
    pub limit: Duration,
    /// What is kept of standard output.
    pub output: Keep,
    /// What is kept of standard error.
    pub errors: Keep,
    /// What becomes of processes that it leaves behind.
    pub leftovers: Leftovers,
}

/// Why a program could not be run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// It could not be started.
    #[error("it cannot be started")]
    Start(#[source] io::Error),
    /// Waiting for it failed.
    #[error("it cannot be watched")]
    Watch(#[source] io::Error),
}

/// How a program ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// By itself, or by a signal of another process.
    Exited(ExitStatus),
    /// It was killed at its time limit.
    TimedOut,
    /// It was killed because it printed too much.
    TooMuch,
}

/// How a program ended, and what it printed.
#[derive(Debug)]
pub struct Ended {
    /// How it ended.
    pub end: End,
    /// What was kept of standard output.
    pub output: Vec<u8>,
    /// What was kept of standard error.
    pub errors: Vec<u8>,
}

impl Ended {
    /// The exit status; `None` if it was killed for exceeding its bounds.
    pub const fn status(&self) -> Option<ExitStatus> {
        match self.end {
            End::Exited(status) => Some(status),
            End::TimedOut | End::TooMuch => None,
        }
    }
}

/// Runs a command to its end or its bounds, with `input` on its standard input.
///
/// Dropping the future kills the program and everything in its process group.
///
/// # Errors
/// It cannot be started, or waiting for it failed.
pub async fn run(command: Command, input: &[u8], bounds: Bounds) -> Result<Ended, RunError> {
    run_listening(command, input, bounds, LAST_WORDS).await
}

/// Runs a command; once it has ended, what it left behind is listened to for as long as `last_words`.
async fn run_listening(
    mut command: Command,
    input: &[u8],
    bounds: Bounds,
    last_words: Duration,
) -> Result<Ended, RunError> {
    command.stdin(if input.is_empty() { Stdio::null() } else { Stdio::piped() });
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0).kill_on_drop(true);
    let mut child = command.spawn().map_err(RunError::Start)?;
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let group = Group::of(child).map_err(RunError::Watch)?;
    let (mut output, mut errors, too_much) = (Vec::new(), Vec::new(), AtomicBool::new(false));
    let ended = {
        let give = async {
            if let Some(mut stdin) = stdin {
                // A program that does not read its input may succeed all the same.
                let _ = stdin.write_all(input).await;
            }
        };
        let exceed = || {
            too_much.store(true, Ordering::Relaxed);
            group.kill();
        };
        let talk = async {
            tokio::join!(
                give,
                listen(stdout, &mut output, bounds.output, exceed),
                listen(stderr, &mut errors, bounds.errors, exceed)
            );
        };
        until_end(&group, talk, bounds, last_words).await
    };
    let timed_out = ended.map_err(RunError::Watch)?;
    let status = group.reap().await.map_err(RunError::Watch)?;
    let end = match (too_much.into_inner(), timed_out) {
        (true, _) => End::TooMuch,
        (false, true) => End::TimedOut,
        (false, false) => End::Exited(status),
    };
    Ok(Ended { end, output, errors })
}

/// Talks to the program until it ends, and a moment longer within its time limit.
///
/// Returns `true` if the program was killed at the limit.
async fn until_end(
    group: &Group,
    talk: impl Future<Output = ()>,
    bounds: Bounds,
    last_words: Duration,
) -> io::Result<bool> {
    let mut limit = pin!(tokio::time::sleep(bounds.limit));
    let (mut end, mut talk, mut said_all) = (pin!(group.leader_ended()), pin!(talk), false);
    loop {
        tokio::select! {
            ended = &mut end => break ended?,
            () = &mut talk, if !said_all => said_all = true,
            () = &mut limit => {
                group.kill();
                return Ok(true);
            }
        }
    }
    if bounds.leftovers == Leftovers::Killed {
        group.kill();
    }
    if !said_all {
        // The program ended in time, even if another process holds its output.
        tokio::select! {
            () = &mut talk => {}
            () = tokio::time::sleep(last_words) => {}
            () = &mut limit => {}
        }
    }
    Ok(false)
}

/// Reads a pipe to its end, or until there is more than may be kept. One that breaks has ended.
async fn listen(pipe: Option<impl AsyncRead + Unpin>, heard: &mut Vec<u8>, keep: Keep, exceed: impl Fn()) {
    let Some(mut pipe) = pipe else { return };
    let mut buffer = vec![0; 8192];
    while let Ok(read @ 1..) = pipe.read(&mut buffer).await {
        let new = &buffer[..read];
        match keep {
            Keep::First(most) => heard.extend_from_slice(&new[..read.min(most.saturating_sub(heard.len()))]),
            Keep::Last(most) => {
                heard.extend_from_slice(new);
                let excess = heard.len().saturating_sub(most);
                heard.drain(..excess);
            }
            Keep::AtMost(most) if heard.len() + read > most => return exceed(),
            Keep::AtMost(_) => heard.extend_from_slice(new),
        }
    }
}

/// A process group and its leader, which is not reaped before the group is done with. Killed when dropped.
struct Group {
    leader: Child,
    id: Pid,
}

impl Group {
    fn of(leader: Child) -> io::Result<Self> {
        let raw = leader.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        let id = raw.ok_or_else(|| io::Error::other("it has no process id"))?;
        Ok(Self { leader, id })
    }

    /// Waits until the leader has ended; it is not reaped by that.
    async fn leader_ended(&self) -> io::Result<()> {
        let id = self.id;
        // A thread that waits: it ends with the leader, which this group's end kills.
        let wait = move || {
            loop {
                match waitid(WaitId::Pid(id), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT) {
                    Err(rustix::io::Errno::INTR) => {}
                    other => return other.map(drop),
                }
            }
        };
        Ok(tokio::task::spawn_blocking(wait).await.map_err(io::Error::other)??)
    }

    /// Kills every process of the group. An empty group is not an error.
    fn kill(&self) {
        let _ = kill_process_group(self.id, Signal::KILL);
    }

    /// How the leader ended. The group's number is free from then on.
    async fn reap(mut self) -> io::Result<ExitStatus> {
        self.leader.wait().await
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Reaped already: its number may belong to another program.
        if self.leader.id().is_some() {
            self.kill();
        }
    }
}

/// The words of what a program printed, on one line without control characters.
pub fn one_line(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let text = fleet_types::printable(&text);
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
#[path = "process_tests.rs"]
mod tests;
