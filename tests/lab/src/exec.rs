//! The adapter that starts processes: short tools here, long-lived parts in [`crate::process`].
//!
//! Tools are not bounded here, unlike by `service_kit::process`: the test's time limit ends them, and what they print belongs
//! whole into its error.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use crate::error::LabError;

/// What tools such as curl ask for the proxy to use; some read capitals only, some only small letters.
const PROXY_VARIABLES: [&str; 6] = ["http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"];

/// A command that waits to be run.
#[derive(Debug)]
pub(crate) struct Tool(Command);

impl Tool {
    /// A tool of the system, found by PATH.
    pub(crate) fn new(program: impl AsRef<OsStr>) -> Self {
        #[expect(clippy::disallowed_methods, reason = "this is the adapter that spawns")]
        let mut command = Command::new(program);
        command.stdin(Stdio::null());
        // A proxy of the machine that runs the lab knows nothing of the lab's addresses.
        for name in PROXY_VARIABLES {
            command.env_remove(name);
        }
        Self(command)
    }

    /// The same inside a network namespace; `ip netns exec` replaces itself by the program, so the pid is its own.
    pub(crate) fn in_namespace(namespace: &str, program: impl AsRef<OsStr>) -> Self {
        Self::new("ip").args(["netns", "exec", namespace]).arg(program)
    }

    /// One more argument.
    pub(crate) fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.0.arg(arg);
        self
    }

    /// More arguments.
    pub(crate) fn args<S: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.0.args(args);
        self
    }

    /// A variable of its environment.
    pub(crate) fn env(mut self, key: &str, value: impl AsRef<OsStr>) -> Self {
        self.0.env(key, value);
        self
    }

    /// Where it runs.
    pub(crate) fn current_dir(mut self, dir: &Path) -> Self {
        self.0.current_dir(dir);
        self
    }

    fn line(&self) -> String {
        let words = std::iter::once(self.0.get_program()).chain(self.0.get_args());
        words.map(|w| w.to_string_lossy()).collect::<Vec<_>>().join(" ")
    }

    /// Runs it to its end, whatever that is.
    pub(crate) fn output(mut self) -> Result<Output, LabError> {
        let line = self.line();
        self.0.output().map_err(|source| LabError::Spawn { command: line, source })
    }

    /// Runs it to its end; an exit other than 0 is an error with what it said. Returns standard output.
    pub(crate) fn run(self) -> Result<String, LabError> {
        let command = self.line();
        let output = self.output()?;
        if !output.status.success() {
            return Err(failed(command, &output));
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Runs it to its end on a thread where it may block, with `input` on its standard input.
    pub(crate) async fn run_fed(mut self, input: String) -> Result<String, LabError> {
        let command = self.line();
        self.0.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        blocking(command.clone(), move || {
            let spawn = |source| LabError::Spawn { command: command.clone(), source };
            let mut child = self.0.spawn().map_err(spawn)?;
            if let Some(mut stdin) = child.stdin.take() {
                // One that ends without reading says why itself.
                let _ = std::io::Write::write_all(&mut stdin, input.as_bytes());
            }
            let output = child.wait_with_output().map_err(spawn)?;
            if !output.status.success() {
                return Err(failed(command.clone(), &output));
            }
            Ok(String::from_utf8_lossy(&output.stdout).into_owned())
        })
        .await
    }

    /// Runs it to its end on a thread where it may block.
    pub(crate) async fn run_async(self) -> Result<String, LabError> {
        let command = self.line();
        blocking(command, move || self.run()).await
    }

    /// The command itself, for a part that lives on.
    pub(crate) fn into_command(self) -> Command {
        self.0
    }
}

/// Runs blocking work off the async threads; `what` names it should it panic.
pub(crate) async fn blocking<T: Send + 'static>(
    what: impl Into<String>,
    work: impl FnOnce() -> Result<T, LabError> + Send + 'static,
) -> Result<T, LabError> {
    let what = what.into();
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(e) => Err(LabError::Spawn { command: what, source: std::io::Error::other(e) }),
    }
}

fn failed(command: String, output: &Output) -> LabError {
    let both = [&output.stderr[..], &output.stdout[..]].concat();
    LabError::Tool { command, status: output.status.to_string(), output: tail(&String::from_utf8_lossy(&both), 12) }
}

/// The last lines of a text.
pub(crate) fn tail(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.trim_end().lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

/// The last lines of a log, or why it cannot be read.
pub(crate) fn tail_file(path: &Path, lines: usize) -> String {
    use std::io::{Read, Seek, SeekFrom};
    let read = || -> std::io::Result<String> {
        let mut file = std::fs::File::open(path)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(16_384)))?;
        let mut bytes = Vec::new();
        file.take(16_384).read_to_end(&mut bytes)?;
        Ok(tail(&String::from_utf8_lossy(&bytes), lines))
    };
    read().unwrap_or_else(|e| format!("(cannot be read: {e})"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tools_know_nothing_of_the_machines_proxy() {
        let command = Tool::in_namespace("n", "curl").env("LANG", "C").into_command();
        for name in PROXY_VARIABLES {
            assert!(command.get_envs().any(|(key, value)| key == name && value.is_none()), "{name}");
        }
        assert!(command.get_envs().any(|(key, value)| key == "LANG" && value == Some(OsStr::new("C"))));
    }
}
