//! The last result of every background task, for metrics and `status`.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use wire::v1::status::{TaskResult, TaskStatus};

/// Longest failure that is kept, in bytes.
const MAX_TEXT: usize = 512;

/// Lists a program's background tasks with their last results. Clones share the list.
#[derive(Debug, Clone, Default)]
pub struct Board(Arc<Mutex<Vec<Arc<Entry>>>>);

impl Board {
    /// Lists the tasks in the order in which they were started.
    pub fn list(&self) -> Vec<TaskStatus> {
        self.entries().iter().map(|entry| entry.state().status.clone()).collect()
    }

    pub(super) fn add(&self, name: &'static str, interval: Duration) -> Arc<Entry> {
        let status = TaskStatus {
            name: name.to_owned(),
            interval_seconds: interval.as_secs(),
            running: false,
            runs: 0,
            failures: 0,
            last: None,
        };
        let state = State {
            status,
            #[cfg(feature = "server")]
            succeeded: None,
        };
        let entry = Arc::new(Entry(Mutex::new(state)));
        self.lock().push(entry.clone());
        entry
    }

    pub(super) fn entries(&self) -> Vec<Arc<Entry>> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Arc<Entry>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One task's results.
#[derive(Debug)]
pub(super) struct Entry(Mutex<State>);

/// What is known of a task.
#[derive(Debug)]
pub(super) struct State {
    /// As `status` shows it.
    pub(super) status: TaskStatus,
    /// When it last succeeded. Only metrics read it.
    #[cfg(feature = "server")]
    pub(super) succeeded: Option<DateTime<Utc>>,
}

impl Entry {
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn begin(&self) {
        self.state().status.running = true;
    }

    pub(super) fn end(&self, now: DateTime<Utc>, took: Duration, failure: Option<&str>) {
        let mut state = self.state();
        state.status.running = false;
        state.status.runs += 1;
        state.status.failures += u64::from(failure.is_some());
        #[cfg(feature = "server")]
        if failure.is_none() {
            state.succeeded = Some(now);
        }
        let failure = failure.map(|text| text[..text.floor_char_boundary(MAX_TEXT)].to_owned());
        let took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        state.status.last = Some(TaskResult { at: now, took_ms, failure });
    }
}
