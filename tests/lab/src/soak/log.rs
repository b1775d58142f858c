//! The soak's log: every line with its time, on standard output and in the run folder.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use anyhow::Context;

/// Where lines go.
pub(super) struct Log {
    begun: Instant,
    file: Mutex<File>,
}

impl Log {
    /// A log that counts its time from now.
    pub(super) fn new(path: &Path) -> anyhow::Result<Self> {
        let file = File::create(path).with_context(|| format!("cannot create {}", path.display()))?;
        Ok(Self { begun: Instant::now(), file: Mutex::new(file) })
    }

    /// Seconds since the log began.
    pub(super) fn seconds(&self) -> f64 {
        self.begun.elapsed().as_secs_f64()
    }

    /// A line with its time. A closed pipe or a full disk is no reason to end a soak.
    pub(super) fn note(&self, text: &str) {
        let line = format!("[{:7.1} s] {text}\n", self.seconds());
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = file.write_all(line.as_bytes());
        let mut out = std::io::stdout().lock();
        let _ = out.write_all(line.as_bytes()).and_then(|()| out.flush());
    }
}
