//! Events for branch servers: each only says "look again". And how many streams of them are open.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, Utc};
use fleet_types::BranchName;
use service_kit::database::{DatabaseError, GenericClient, outbox};
use wire::v1::sync::Event;

/// Most streams of one branch at a time.
///
/// One in use and some that are not known to be broken yet.
pub const MAX_STREAMS: usize = 8;

/// The audience of a branch's events.
pub fn audience(branch: &BranchName) -> String {
    format!("branch:{branch}")
}

/// Tells branches, by their audiences, to look again.
///
/// # Errors
/// As every statement.
pub async fn wake<C: GenericClient>(c: &C, audiences: &[String], now: DateTime<Utc>) -> Result<(), DatabaseError> {
    let body = serde_json::to_value(Event::LookAgain).map_err(|e| DatabaseError::unwritable("events.body", e))?;
    outbox::append_all(c, audiences, &body, now).await
}

/// How many streams each branch has open.
#[derive(Debug, Clone, Default)]
pub struct Streams(Arc<Mutex<HashMap<BranchName, usize>>>);

/// One open stream; counted until it is dropped.
pub struct Slot {
    streams: Streams,
    branch: BranchName,
}

impl Streams {
    /// Counts one more stream of a branch; none if it has [`MAX_STREAMS`] open.
    pub fn open(&self, branch: &BranchName) -> Option<Slot> {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(branch.clone()).or_default();
        if *count >= MAX_STREAMS {
            return None;
        }
        *count += 1;
        Some(Slot { streams: self.clone(), branch: branch.clone() })
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut counts = self.streams.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.branch) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                counts.remove(&self.branch);
            }
        }
    }
}
