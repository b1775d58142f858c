//! The adapter that starts processes. Each is killed when its owner is dropped.

use std::ffi::OsStr;
use std::path::Path;
use std::process::Stdio;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use tokio::process::{Child, Command};

/// What would make a program of a namespace look for a proxy that it cannot reach.
const PROXIES: [&str; 6] = ["http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"];

/// A command that waits to be run.
#[derive(Debug)]
pub(crate) struct Tool(Command);

impl Tool {
    /// A tool of the system, found by PATH.
    pub(crate) fn new(program: impl AsRef<OsStr>) -> Self {
        #[expect(clippy::disallowed_methods, reason = "this is the adapter that spawns")]
        let mut command = Command::new(program);
        // A group of its own: Ctrl-C reaches the bench alone, which then ends everything.
        command.stdin(Stdio::null()).kill_on_drop(true).process_group(0);
        PROXIES.iter().for_each(|name| {
            command.env_remove(name);
        });
        Self(command)
    }

    /// The same inside a network namespace; `ip netns exec` replaces itself by the program.
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

    fn line(&self) -> String {
        let command = self.0.as_std();
        let words = std::iter::once(command.get_program()).chain(command.get_args());
        words.map(|w| w.to_string_lossy()).collect::<Vec<_>>().join(" ")
    }

    /// Runs it to its end, which must be a good one; returns what it printed.
    pub(crate) async fn run(mut self) -> Result<String> {
        let line = self.line();
        let output =
            self.0.output().await.with_context(|| format!("cannot start `{line}`: is its package installed?"))?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            bail!("`{line}` failed ({}): {}", output.status, said.trim());
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Runs it to its end and returns how many seconds that took.
    pub(crate) async fn seconds(self) -> Result<f64> {
        let begun = Instant::now();
        self.run().await?;
        Ok(begun.elapsed().as_secs_f64())
    }

    /// Starts it and lets it run; its output goes to `log`.
    pub(crate) fn start(mut self, log: &Path) -> Result<Child> {
        let file = std::fs::File::create(log).with_context(|| format!("cannot create {}", log.display()))?;
        let second = file.try_clone().context("cannot open a log twice")?;
        self.0.stdout(Stdio::from(file)).stderr(Stdio::from(second));
        let line = self.line();
        self.0.spawn().with_context(|| format!("cannot start `{line}`: is its package installed?"))
    }
}

/// Runs a short tool to its end where nothing can be awaited, as when something is dropped; returns what it printed.
pub(crate) fn run_now(program: &str, args: &[&str]) -> Result<String> {
    #[expect(clippy::disallowed_methods, reason = "this is the adapter that spawns")]
    let output = std::process::Command::new(program).args(args).stdin(Stdio::null()).output();
    let output = output.with_context(|| format!("cannot start {program}"))?;
    if !output.status.success() {
        bail!("`{program} {}` failed: {}", args.join(" "), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Runs blocking work on a thread where it may block.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.context("a thread ended badly")?
}

/// The end of a log, for the message of a failure.
pub(crate) fn tail(log: &Path) -> String {
    let bytes = std::fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes[bytes.len().saturating_sub(4000)..]).into_owned();
    let lines: Vec<&str> = text.trim_end().lines().collect();
    lines[lines.len().saturating_sub(8)..].join("\n")
}
