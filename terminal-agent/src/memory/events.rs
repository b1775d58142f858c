//! `events.jsonl`: what happened, one JSON object a line, for people and tests. Evidence, not state: nothing reads
//! it back, and losing it loses nothing.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::PathBuf;

use serde_json::{Value, json};

use chrono::{DateTime, Utc};

/// When the file is larger, it is put aside under `.1`; what lay there is gone.
const MAX_LEN: u64 = 1024 * 1024;

/// The log.
#[derive(Debug, Clone)]
pub struct EventLog {
    path: PathBuf,
}

impl EventLog {
    /// The log at `path`.
    pub fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// Segments were written and synced.
    pub fn segments(&self, at: DateTime<Utc>, done: u64, total: u64, torrent_complete: bool) {
        self.write(
            &json!({"at": at, "event": "segments", "done": done, "total": total, "torrent_complete": torrent_complete}),
        );
    }

    /// The update moved.
    pub fn moved(&self, at: DateTime<Utc>, from: &str, to: &str, version: Option<String>, reason: Option<&str>) {
        self.write(&json!({"at": at, "event": "move", "from": from, "to": to, "version": version, "reason": reason}));
    }

    fn write(&self, line: &Value) {
        if let Err(error) = self.try_write(line) {
            tracing::warn!(%error, path = %self.path.display(), "the log of events cannot be written");
        }
    }

    fn try_write(&self, line: &Value) -> io::Result<()> {
        if fs::metadata(&self.path).is_ok_and(|m| m.len() >= MAX_LEN) {
            fs::rename(&self.path, self.path.with_extension("jsonl.1"))?;
        }
        let mut file = OpenOptions::new().create(true).append(true).open(&self.path)?;
        file.write_all(format!("{line}\n").as_bytes())
    }
}
