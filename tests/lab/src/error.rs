//! Why the lab could not do something.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::part::Part;

/// Everything that can go wrong in a lab: a cause and the next step.
#[derive(Debug, thiserror::Error)]
pub enum LabError {
    /// Network namespaces and raw interfaces need root.
    #[error("the lab makes network namespaces and needs root: run it as root (for instance in a container of its own)")]
    NotRoot,
    /// A tool of the system is missing.
    #[error("{tool} is missing: run `make setup`, which installs the Debian package that holds it")]
    ToolMissing {
        /// The tool.
        tool: &'static str,
    },
    /// One of our own programs was not built.
    #[error("the program {path} is missing: build it first with `make build`")]
    ProgramMissing {
        /// Where it was expected.
        path: PathBuf,
    },
    /// An image was not built.
    #[error("the image {path} is missing: build it first with `make images`")]
    ImageMissing {
        /// Where it was expected.
        path: PathBuf,
    },
    /// A virtual machine's disk was not built.
    #[error("{path} is missing, which a virtual machine starts with: build it first with `make image`")]
    DiskMissing {
        /// Where it was expected.
        path: PathBuf,
    },
    /// The options do not fit together.
    #[error("{0}")]
    Options(String),
    /// Every lab index is taken.
    #[error("{0} labs are running already: end one, or remove leftovers with `lab clean`")]
    TooManyLabs(usize),
    /// A file operation failed.
    #[error("cannot {action} {path}: {source}")]
    File {
        /// What was tried: `read`, `write`, `create` …
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A tool could not be started.
    #[error("cannot start {command}: {source}")]
    Spawn {
        /// The command line.
        command: String,
        /// What the system says.
        source: io::Error,
    },
    /// A tool ended badly.
    #[error("`{command}` failed ({status}): {output}")]
    Tool {
        /// The command line.
        command: String,
        /// How it ended.
        status: String,
        /// The last lines that it wrote.
        output: String,
    },
    /// A part ended without being told to.
    #[error("{part} ended by itself ({status}); its log {log} ends:\n{tail}")]
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
    #[error("there is no part {0} in this lab")]
    NoSuchPart(String),
    /// The part does not run.
    #[error("{0} is not running")]
    NotRunning(Part),
    /// A condition did not come about in time.
    #[error("waited {waited:.0?} for: {what}\n{state}")]
    Deadline {
        /// What was waited for.
        what: String,
        /// How long.
        waited: Duration,
        /// The last state of every part and its log.
        state: String,
    },
    /// A condition can no longer come about.
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
    /// The world is not as the API says.
    #[error("the lab looked for itself and found something else than the API says:\n{}", .0.join("\n"))]
    Differs(Vec<String>),
    /// A file did not hold what it should.
    #[error("{path} is not as expected: {why}")]
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
