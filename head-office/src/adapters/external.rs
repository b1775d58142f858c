//! Runs the shop's own command of the rule `external`: as an unprivileged user, with an empty environment, in a process
//! group of its own, for a bounded time and with bounded output. Whatever goes wrong is a failure, never a pass.
//!
//! The group is killed when the command has ended, also when it ended well, and when time is up. Its leader is reaped
//! only after that, so that the group's number cannot meanwhile belong to another program.

use std::io;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use release::{External, ExternalPolicy};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, geteuid, kill_process_group, waitid};
use tokio::fs::File;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};

/// How much of the command's standard error is kept, in bytes.
const STDERR_KEPT: u64 = 400;
/// How much of `/etc/passwd` is looked at, in bytes.
const MAX_PASSWD: u64 = 4 << 20;

/// Why the command gave no answer.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("There is no user {0} in /etc/passwd of this machine.")]
    NoUser(String),
    #[error("The user {0} is root, who must not run it.")]
    Root(String),
    #[error(
        "Head office does not run as root, so it cannot become {0}; name the user as whom it runs, or run it as root."
    )]
    NotAllowed(String),
    #[error("It cannot be started: {0}.")]
    Start(io::Error),
    #[error("It cannot be watched: {0}.")]
    Watch(io::Error),
    #[error("It did not end within {0} seconds and was killed.")]
    TooLong(u64),
    #[error("It answered with more than {0} bytes and was killed.")]
    TooMuch(u64),
    #[error("It ended with {status}{}.", said(.stderr))]
    Ended { status: ExitStatus, stderr: String },
}

fn said(stderr: &str) -> String {
    let line = stderr.lines().map(str::trim).find(|l| !l.is_empty());
    line.map(|l| format!(", and said: {l}")).unwrap_or_default()
}

/// Asks the command about a release: `manifest` goes to its standard input, as JSON.
///
/// Dropping the future kills the command and everything in its process group.
pub async fn ask(policy: &ExternalPolicy, manifest: Vec<u8>) -> External {
    match run(policy, manifest).await {
        Ok(output) => External::read(&output),
        Err(failure) => {
            tracing::warn!(command = ?policy.command, %failure, "the shop's own command did not judge");
            External::failed(failure.to_string())
        }
    }
}

async fn run(policy: &ExternalPolicy, manifest: Vec<u8>) -> Result<Vec<u8>, Failure> {
    let mut child = command(policy).await?.spawn().map_err(Failure::Start)?;
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let group = Group::of(child).map_err(Failure::Watch)?;
    let give = async {
        if let Some(mut stdin) = stdin {
            // A command that does not read its input may answer all the same.
            let _ = stdin.write_all(&manifest).await;
        }
    };
    let most = u64::from(policy.max_output_bytes);
    let take = async {
        let output = first_bytes(stdout, most + 1).await;
        if output.len() as u64 > most {
            group.kill();
        }
        output
    };
    let complain = async {
        let mut stderr = stderr;
        let kept = first_bytes(stderr.as_mut(), STDERR_KEPT).await;
        // What is not kept is read all the same, so that the command does not stand still.
        if let Some(mut rest) = stderr {
            let _ = tokio::io::copy(&mut rest, &mut tokio::io::sink()).await;
        }
        kept
    };
    // What the command left running holds its output open: when the command has ended, the rest is killed.
    let end = async { group.leader_ended().await.inspect(|()| group.kill()) };
    let limit = Duration::from_secs(policy.timeout_seconds.into());
    let all = tokio::time::timeout(limit, async { tokio::join!(end, take, complain, give) });
    let (end, output, stderr, ()) = all.await.map_err(|_| Failure::TooLong(limit.as_secs()))?;
    end.map_err(Failure::Watch)?;
    let status = group.reap().await.map_err(Failure::Watch)?;
    if output.len() as u64 > most {
        return Err(Failure::TooMuch(most));
    }
    if !status.success() {
        return Err(Failure::Ended { status, stderr: String::from_utf8_lossy(&stderr).into_owned() });
    }
    Ok(output)
}

/// At most `most` bytes of a pipe. One that breaks has ended.
async fn first_bytes(pipe: Option<impl AsyncRead + Unpin>, most: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    if let Some(pipe) = pipe {
        let _ = pipe.take(most).read_to_end(&mut bytes).await;
    }
    bytes
}

/// A process group and its leader, which is not reaped before the group is done with.
///
/// Killed when dropped.
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

async fn command(policy: &ExternalPolicy) -> Result<Command, Failure> {
    let mut words = policy.command.iter();
    let program = words.next().map(String::as_str).unwrap_or_default();
    #[expect(clippy::disallowed_methods, reason = "this is the adapter")]
    let mut command = Command::new(program);
    command.args(words).env_clear().env("PATH", "/usr/local/bin:/usr/bin:/bin").env("LC_ALL", "C.UTF-8");
    command.current_dir("/").process_group(0);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let passwd = File::open("/etc/passwd").await.map_err(Failure::Start)?;
    let passwd = first_bytes(Some(passwd), MAX_PASSWD).await;
    let (uid, gid) = user(&String::from_utf8_lossy(&passwd), &policy.user)?;
    let own = geteuid();
    if own.is_root() {
        // The standard library then also gives up all other groups.
        command.uid(uid).gid(gid);
    } else if own.as_raw() != uid {
        return Err(Failure::NotAllowed(policy.user.clone()));
    }
    Ok(command)
}

/// The numbers of a user and its group, out of the text of `/etc/passwd`.
fn user(passwd: &str, name: &str) -> Result<(u32, u32), Failure> {
    let entry = passwd.lines().map(|l| l.split(':').collect::<Vec<_>>()).find(|f| f.first() == Some(&name));
    let number = |at: usize| entry.as_ref().and_then(|f| f.get(at)).and_then(|n| n.parse::<u32>().ok());
    match (number(2), number(3)) {
        (Some(0), _) | (_, Some(0)) => Err(Failure::Root(name.to_owned())),
        (Some(uid), Some(gid)) => Ok((uid, gid)),
        _ => Err(Failure::NoUser(name.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_found_by_name_and_is_never_root() {
        let passwd = "root:x:0:0::/:/bin/sh\ntoor:x:0:5::/:/bin/sh\nnobody:x:65534:65533:a:/:/bin/false\nodd:x:y:1\n";
        assert_eq!(user(passwd, "nobody").unwrap(), (65534, 65533));
        for (name, says) in
            [("root", "root"), ("toor", "root"), ("odd", "no user odd"), ("x", "no user x"), ("", "no user")]
        {
            let failure = user(passwd, name).unwrap_err().to_string();
            assert!(failure.contains(says), "{name}: {failure}");
        }
    }
}
