//! Runs a bootloader's tool with bounded input, output and time.
//!
//! Synchronous, in one thread: the helper does one thing at a time, and a write of the boot state must not be cut short by a
//! dropped future. So this is not `service_kit::process`, which needs an async runtime that this crate does without.

use std::ffi::OsStr;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};

/// Maximum bytes on each output of a tool.
pub const MOST_OUTPUT: usize = 4096;

/// Maximum bytes of a tool's input.
///
/// Far below a pipe's capacity, so that writing never blocks.
const MOST_INPUT: usize = 512;

/// Why a boot tool failed.
#[derive(Debug, thiserror::Error)]
pub enum ToolError {
    /// It could not be started.
    #[error("it cannot be started: check that it is installed and executable")]
    Start(#[source] io::Error),
    /// Waiting for it failed.
    #[error("waiting for it failed")]
    Follow(#[source] io::Error),
    /// It ran too long and was killed.
    #[error("it was killed after {} seconds: run it by hand to see what it waits for", .0.as_secs_f32())]
    TimeLimit(Duration),
    /// It printed too much and was killed.
    #[error("it was killed after printing more than {MOST_OUTPUT} bytes: check that it is the right program")]
    TooMuch,
    /// It failed.
    #[error("it ended with {status} and printed {said:?}")]
    Exit {
        /// Its exit status.
        status: ExitStatus,
        /// The end of its standard error, on one line.
        said: String,
    },
    /// Its answer is not valid.
    #[error("it answered {said:?}: {why}")]
    Answer {
        /// The beginning of the answer.
        said: String,
        /// Why it is not valid.
        why: &'static str,
    },
}

/// A tool's output and exit status.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    pub(crate) output: Vec<u8>,
    pub(crate) errors: Vec<u8>,
}

impl Ended {
    /// The output of a tool that succeeded.
    pub(crate) fn success(self) -> Result<Vec<u8>, ToolError> {
        match self.status.success() {
            true => Ok(self.output),
            false => Err(ToolError::Exit { status: self.status, said: one_line(&self.errors) }),
        }
    }
}

/// Runs `program` to its end with `input`, and only `PATH` and `LC_ALL` as its environment.
///
/// # Errors
/// It cannot be started, runs longer than `limit` or says more than [`MOST_OUTPUT`] bytes; how it ended is for the
/// caller to judge.
#[expect(clippy::disallowed_methods, reason = "this is the adapter that spawns")]
pub(crate) fn run<A: AsRef<OsStr>>(
    program: &Path,
    arguments: impl IntoIterator<Item = A>,
    input: &[u8],
    limit: Duration,
) -> Result<Ended, ToolError> {
    debug_assert!(input.len() <= MOST_INPUT);
    let mut child = Command::new(program)
        .args(arguments)
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .env("LC_ALL", "C")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
        .map_err(ToolError::Start)?;
    let said = converse(&mut child, input, limit);
    kill_group(&child);
    let status = child.wait().map_err(ToolError::Follow);
    let (output, errors) = said?;
    Ok(Ended { status: status?, output, errors })
}

/// Tells the tool its input, and listens until it has ended.
fn converse(child: &mut Child, input: &[u8], limit: Duration) -> Result<(Vec<u8>, Vec<u8>), ToolError> {
    let deadline = Instant::now() + limit;
    let end = process_fd(child).map_err(ToolError::Follow)?;
    if let Some(mut pipe) = child.stdin.take() {
        // One that ends without listening is judged by how it ends.
        let _ = pipe.write_all(input);
    }
    let (mut out, mut err) = (Ear::new(child.stdout.take()), Ear::new(child.stderr.take()));
    loop {
        let rest = deadline.saturating_duration_since(Instant::now());
        if rest.is_zero() {
            return Err(ToolError::TimeLimit(limit));
        }
        let (ended, heard_out, heard_err) = wait(&end, &out, &err, rest).map_err(ToolError::Follow)?;
        out.listen(heard_out)?;
        err.listen(heard_err)?;
        // A child that it left behind may hold its outputs open for ever: what lies in them now is all.
        if ended && !heard_out && !heard_err {
            return Ok((out.heard, err.heard));
        }
    }
}

/// Waits until the tool ends or says something.
///
/// Whether it ended, and which output can be read.
fn wait(end: &OwnedFd, out: &Ear, err: &Ear, rest: Duration) -> io::Result<(bool, bool, bool)> {
    let mut watched = vec![PollFd::new(end, PollFlags::IN)];
    let ears = [out.fd(), err.fd()];
    watched.extend(ears.iter().flatten().map(|fd| PollFd::from_borrowed_fd(*fd, PollFlags::IN)));
    let rest = Timespec::try_from(rest).map_err(io::Error::other)?;
    match poll(&mut watched, Some(&rest)) {
        Ok(_) => {}
        Err(rustix::io::Errno::INTR) => return Ok((false, false, false)),
        Err(error) => return Err(error.into()),
    }
    let mut ready = watched.iter().map(|w| !w.revents().is_empty());
    let ended = ready.next().unwrap_or(false);
    let heard = ears.map(|fd| fd.is_some() && ready.next().unwrap_or(false));
    Ok((ended, heard[0], heard[1]))
}

/// One output of a tool, and what was heard of it.
struct Ear {
    from: Option<Box<dyn Source>>,
    heard: Vec<u8>,
}

trait Source: Read + AsFd {}
impl<T: Read + AsFd> Source for T {}

impl Ear {
    fn new(from: Option<impl Source + 'static>) -> Self {
        Self { from: from.map(|f| Box::new(f) as Box<dyn Source>), heard: Vec::new() }
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.from.as_ref().map(|f| f.as_fd())
    }

    /// One read, which does not wait because something is there.
    fn listen(&mut self, ready: bool) -> Result<(), ToolError> {
        let Some(from) = self.from.as_mut().filter(|_| ready) else { return Ok(()) };
        let mut buffer = [0; 1024];
        match from.read(&mut buffer) {
            Ok(0) => self.from = None,
            Ok(read) => self.heard.extend_from_slice(&buffer[..read]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(ToolError::Follow(error)),
        }
        match self.heard.len() > MOST_OUTPUT {
            true => Err(ToolError::TooMuch),
            false => Ok(()),
        }
    }
}

fn pid(child: &Child) -> Option<Pid> {
    i32::try_from(child.id()).ok().and_then(Pid::from_raw)
}

fn process_fd(child: &Child) -> io::Result<OwnedFd> {
    let pid = pid(child).ok_or_else(|| io::Error::other("the system gave no process id"))?;
    Ok(pidfd_open(pid, PidfdFlags::empty())?)
}

/// What it left behind too, however it ended.
///
/// Called before it is waited for, so the number is still its own.
fn kill_group(child: &Child) {
    if let Some(pid) = pid(child) {
        let _ = kill_process_group(pid, Signal::KILL);
    }
}

/// The last 200 characters of what a program said, on one line.
pub(crate) fn one_line(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let words = fleet_types::printable(&text);
    let text = words.split_whitespace().collect::<Vec<_>>().join(" ");
    let skip = text.chars().count().saturating_sub(200);
    text.chars().skip(skip).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str, limit: Duration) -> Result<Ended, ToolError> {
        run(Path::new("/bin/sh"), ["-c", script], b"one\ntwo\n", limit)
    }

    const LONG: Duration = Duration::from_secs(20);

    #[test]
    fn it_hears_both_outputs_and_the_end() {
        let ended = sh("cat; echo bad >&2; exit 3", LONG).unwrap();
        assert_eq!((ended.output.as_slice(), ended.errors.as_slice()), (&b"one\ntwo\n"[..], &b"bad\n"[..]));
        assert_eq!(ended.status.code(), Some(3));
        assert!(matches!(ended.success(), Err(ToolError::Exit { said, .. }) if said == "bad"));
        assert!(matches!(run(Path::new("/no/such"), [""; 0], b"", LONG), Err(ToolError::Start(_))));
    }

    #[test]
    fn it_never_waits_longer_and_never_keeps_more_than_its_bounds() {
        let begun = Instant::now();
        assert!(matches!(sh("sleep 100 & sleep 100", Duration::from_millis(200)), Err(ToolError::TimeLimit(_))));
        assert!(matches!(sh("while :; do echo yes; done", LONG), Err(ToolError::TooMuch)));
        assert!(matches!(sh("while :; do echo yes >&2; done", LONG), Err(ToolError::TooMuch)));
        // A child left behind holds the outputs open.
        assert_eq!(sh("sleep 100 & echo done", LONG).unwrap().output, b"done\n");
        assert!(begun.elapsed() < Duration::from_secs(15));
    }
}
