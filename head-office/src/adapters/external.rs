//! Runs the shop's own command of the rule `external`: as an unprivileged user, with an empty environment, in a process
//! group of its own, for a bounded time and with bounded output. Whatever goes wrong is a failure, never a pass. What the
//! command leaves behind is killed, also when it ended well.

use std::io;
use std::process::ExitStatus;
use std::time::Duration;

use release::{External, ExternalPolicy};
use rustix::process::geteuid;
use service_kit::process::{self, Bounds, End, Keep, Leftovers, RunError};
use service_kit::users::{self, User};
use tokio::process::Command;

/// How much of the command's standard error is kept, in bytes.
const STDERR_KEPT: usize = 400;

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

impl From<RunError> for Failure {
    fn from(error: RunError) -> Self {
        match error {
            RunError::Start(error) => Self::Start(error),
            RunError::Watch(error) => Self::Watch(error),
        }
    }
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
    let most = policy.max_output_bytes;
    let limit = Duration::from_secs(policy.timeout_seconds.into());
    let output = Keep::AtMost(usize::try_from(most).unwrap_or(usize::MAX));
    let bounds = Bounds { limit, output, errors: Keep::First(STDERR_KEPT), leftovers: Leftovers::Killed };
    let ended = process::run(command(policy)?, &manifest, bounds).await?;
    match ended.end {
        End::Exited(status) if status.success() => Ok(ended.output),
        End::Exited(status) => {
            Err(Failure::Ended { status, stderr: String::from_utf8_lossy(&ended.errors).into_owned() })
        }
        End::TimedOut => Err(Failure::TooLong(limit.as_secs())),
        End::TooMuch => Err(Failure::TooMuch(most.into())),
    }
}

fn command(policy: &ExternalPolicy) -> Result<Command, Failure> {
    let mut words = policy.command.iter();
    let program = words.next().map(String::as_str).unwrap_or_default();
    #[expect(clippy::disallowed_methods, reason = "this is the adapter")]
    let mut command = Command::new(program);
    command.args(words).env_clear().env("PATH", "/usr/local/bin:/usr/bin:/bin").env("LC_ALL", "C.UTF-8");
    command.current_dir("/");
    // A small file, and this happens once for each release: not worth a thread.
    let User { uid, gid } = unprivileged(users::find(&policy.user).map_err(Failure::Start)?, &policy.user)?;
    let own = geteuid();
    if own.is_root() {
        // The standard library then also gives up all other groups.
        command.uid(uid).gid(gid);
    } else if own.as_raw() != uid {
        return Err(Failure::NotAllowed(policy.user.clone()));
    }
    Ok(command)
}

/// The user as whom it runs, who is never root.
fn unprivileged(found: Option<User>, name: &str) -> Result<User, Failure> {
    match found {
        Some(User { uid: 0, .. } | User { gid: 0, .. }) => Err(Failure::Root(name.to_owned())),
        Some(user) => Ok(user),
        None => Err(Failure::NoUser(name.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use service_kit::users::find_in;

    use super::*;

    #[test]
    fn a_user_is_found_by_name_and_is_never_root() {
        let passwd = "root:x:0:0::/:/bin/sh\ntoor:x:0:5::/:/bin/sh\nnobody:x:65534:65533:a:/:/bin/false\nodd:x:y:1\n";
        let user = unprivileged(find_in(passwd, "nobody"), "nobody").unwrap();
        assert_eq!((user.uid, user.gid), (65534, 65533));
        for (name, says) in
            [("root", "root"), ("toor", "root"), ("odd", "no user odd"), ("x", "no user x"), ("", "no user")]
        {
            let failure = unprivileged(find_in(passwd, name), name).unwrap_err().to_string();
            assert!(failure.contains(says), "{name}: {failure}");
        }
    }
}
