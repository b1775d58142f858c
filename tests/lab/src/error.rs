//! The lab's errors.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// What failed in a lab, why, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum LabError {
    /// Network namespaces and raw interfaces need root.
    #[error("The lab creates network namespaces and needs root. Run it as root, for instance in a container.")]
    NotRoot,
    /// A tool of the system is missing.
    #[error("{tool} is missing. Run `make setup`, which installs its Debian package.")]
    ToolMissing {
        /// The tool.
        tool: &'static str,
    },
    /// One of our own programs was not built.
    #[error("The program {path} is missing. Build it with `make build`.")]
    ProgramMissing {
        /// Where it was expected.
        path: PathBuf,
    },
    /// An image was not built.
    #[error("The image {path} is missing. Build it with `make images`.")]
    ImageMissing {
        /// Where it was expected.
        path: PathBuf,
    },
    /// A virtual machine's disk was not built.
    #[error("The virtual machine's disk {path} is missing. Build it with `make image`.")]
    DiskMissing {
        /// Where it was expected.
        path: PathBuf,
    },
    /// The options do not fit together.
    #[error("{0}")]
    Options(String),
    /// Every lab index is taken.
    #[error("{0} labs are already running. End one, or remove leftovers with `lab clean`.")]
    TooManyLabs(usize),
    /// A file operation failed.
    #[error("Cannot {action} {path}: {source}")]
    File {
        /// What was tried: `read`, `write`, `create` …
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A tool could not be started.
    #[error("Cannot start {command}: {source}")]
    Spawn {
        /// The command line.
        command: String,
        /// What the system says.
        source: io::Error,
    },
    /// A tool failed.
    #[error("`{command}` failed ({status}): {output}")]
    Tool {
        /// The command line.
        command: String,
        /// How it ended.
        status: String,
        /// The last lines that it wrote.
        output: String,
    },
    /// A part ended unexpectedly.
    #[error("{part} ended unexpectedly ({status}). The end of its log {log}:\n{tail}")]
    Ended {
        /// Which part.
        part: String,
        /// How it ended.
        status: String,
        /// Its log.
        log: PathBuf,
        /// The log's last lines.
        tail: String,
    },
    /// A part that was never started, or is not of this lab.
    #[error("This lab has no part {0}. `lab fault parts` lists them.")]
    NoSuchPart(String),
    /// The part does not run.
    #[error("{0} is not running")]
    NotRunning(String),
    /// A condition was not met before its deadline.
    #[error("Timed out after {waited:.0?} waiting for {what}\n{state}")]
    Deadline {
        /// What was waited for.
        what: String,
        /// How long.
        waited: Duration,
        /// The last state of every part and its log.
        state: String,
    },
    /// A condition can no longer be met.
    #[error("{what}: {why}\n{state}")]
    Hopeless {
        /// What was waited for.
        what: String,
        /// Why it cannot happen any more.
        why: String,
        /// The last state of every part and its log.
        state: String,
    },
    /// A program's API could not be used.
    #[error("{method} {url}: {why}")]
    Api {
        /// The method.
        method: &'static str,
        /// The address.
        url: String,
        /// What went wrong, or the refusal with its code.
        why: String,
    },
    /// What the lab observed differs from what the API reports.
    #[error("The lab's own observations differ from what the API reports:\n{}", .0.join("\n"))]
    Differs(Vec<String>),
    /// A file has unexpected content.
    #[error("Unexpected content in {path}: {why}")]
    Content {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
}

impl LabError {
    /// A file error, for `map_err`.
    pub(crate) fn file(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { action, path, source }
    }
}
