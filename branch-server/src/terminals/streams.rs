//! The open event streams of terminals: bounded for each terminal, the oldest ends.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use fleet_types::TerminalName;
use tokio::sync::Notify;

/// How many event streams one terminal may hold: one in use, one that it has not noticed to be dead.
const STREAMS_EACH: usize = 2;

/// The open event streams, oldest first, bounded for each terminal.
#[derive(Debug, Default)]
pub struct Streams(Mutex<BTreeMap<TerminalName, VecDeque<Arc<Notify>>>>);

/// A terminal's right to one stream; given back when it is dropped.
#[derive(Debug)]
pub struct StreamPermit {
    streams: Arc<Streams>,
    terminal: TerminalName,
    end: Arc<Notify>,
}

impl Streams {
    /// One more stream for `terminal`; beyond its bound the oldest ends. That one is more likely to be dead than the
    /// new one, and a terminal behind a broken connection must not be kept out by its own past.
    pub fn open(self: &Arc<Self>, terminal: &TerminalName) -> StreamPermit {
        let end = Arc::new(Notify::new());
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let streams = open.entry(terminal.clone()).or_default();
        streams.push_back(end.clone());
        if streams.len() > STREAMS_EACH
            && let Some(oldest) = streams.pop_front()
        {
            oldest.notify_one();
        }
        StreamPermit { streams: self.clone(), terminal: terminal.clone(), end }
    }

    /// Ends all streams of `terminal`.
    pub fn end(&self, terminal: &TerminalName) {
        let open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        open.get(terminal).into_iter().flatten().for_each(|end| end.notify_one());
    }

    /// How many are open.
    pub fn count(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).values().map(VecDeque::len).sum()
    }
}

impl StreamPermit {
    /// Waits until a newer stream took its place.
    pub async fn ended(&self) {
        self.end.notified().await;
    }
}

impl Drop for StreamPermit {
    fn drop(&mut self) {
        let mut open = self.streams.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(streams) = open.get_mut(&self.terminal) {
            streams.retain(|end| !Arc::ptr_eq(end, &self.end));
            if streams.is_empty() {
                open.remove(&self.terminal);
            }
        }
    }
}
