//! How a part of the lab is started, and the small files that it is started with.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use rustix::process::Signal;

use crate::error::LabError;

/// How a part is started; kept, so that it can be started again the same way.
#[derive(Debug, Clone)]
pub(crate) struct Recipe {
    pub(crate) namespace: String,
    pub(crate) program: PathBuf,
    pub(crate) args: Vec<OsString>,
    pub(crate) env: Vec<(String, OsString)>,
    /// The words that run it as another user than root; none for root.
    pub(crate) user: Vec<String>,
    /// The signal that asks it to end in order.
    pub(crate) end: Signal,
    /// Something follows it and decides what its end means: it may begin again by itself.
    pub(crate) followed: bool,
    /// Where its process id is written whenever it starts, for programs that signal it.
    pub(crate) pid_file: Option<PathBuf>,
}

impl Recipe {
    pub(crate) fn new(namespace: impl Into<String>, program: impl Into<PathBuf>) -> Self {
        Self {
            namespace: namespace.into(),
            program: program.into(),
            args: Vec::new(),
            env: Vec::new(),
            user: Vec::new(),
            end: Signal::TERM,
            followed: false,
            pid_file: None,
        }
    }

    pub(crate) fn args<S: Into<OsString>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    pub(crate) fn followed(self) -> Self {
        Self { followed: true, ..self }
    }

    pub(crate) fn env(mut self, key: &str, value: impl Into<OsString>) -> Self {
        self.env.push((key.to_owned(), value.into()));
        self
    }
}

/// Writes a small file of the run folder, not durably: a lab does not outlive its machine.
pub(crate) fn write(path: &Path, text: impl AsRef<[u8]>) -> Result<(), LabError> {
    #[expect(clippy::disallowed_methods, reason = "a lab's files need not survive a crash")]
    std::fs::write(path, text).map_err(LabError::file("write", path))
}
