//! What earlier updates taught.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use fleet_types::{Digest, Slot, Version};
use serde::{Deserialize, Serialize};
use wire::v1::reports::Reason;

use super::update::{Retry, Update, Verdict};

/// Most digests remembered as failed, and most setbacks: the oldest are forgotten.
const MAX_REMEMBERED: usize = 64;

/// A payload that failed here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Blamed {
    /// Its version.
    pub version: Version,
    /// Why.
    pub reason: Reason,
    /// When.
    pub at: DateTime<Utc>,
}

/// A payload whose attempt ended badly without being to blame.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setback {
    /// How often, under one plan.
    pub count: u32,
    /// That plan's serial.
    pub serial: u64,
    /// When, the last time.
    pub at: DateTime<Utc>,
    /// What follows.
    #[serde(rename = "then")]
    pub retry: Retry,
    /// Why, the last time.
    pub reason: Reason,
}

/// What earlier updates taught.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// The payload that each slot holds, once it was confirmed there.
    ///
    /// Forgotten before the slot is written to.
    pub confirmed: BTreeMap<Slot, Digest>,
    /// Payloads that are not tried again by themselves.
    pub blamed: BTreeMap<Digest, Blamed>,
    /// Payloads that are tried again under conditions.
    pub setbacks: BTreeMap<Digest, Setback>,
}

impl Memory {
    /// Remembers a bad end.
    pub fn learn(&mut self, update: &Update, verdict: &Verdict, at: DateTime<Utc>) {
        let (payload, reason) = (update.payload.sha256, verdict.reason.clone());
        if verdict.retry == Retry::Never {
            self.setbacks.remove(&payload);
            self.blamed.insert(payload, Blamed { version: update.version.clone(), reason, at });
            forget_oldest(&mut self.blamed, |b| b.at);
            return;
        }
        let before = self.setbacks.get(&payload).filter(|s| s.serial == update.serial).map_or(0, |s| s.count);
        let setback =
            Setback { count: before.saturating_add(1), serial: update.serial, at, retry: verdict.retry, reason };
        self.setbacks.insert(payload, setback);
        forget_oldest(&mut self.setbacks, |s| s.at);
    }
}

fn forget_oldest<T>(map: &mut BTreeMap<Digest, T>, at: impl Fn(&T) -> DateTime<Utc>) {
    while map.len() > MAX_REMEMBERED
        && let Some(oldest) = map.iter().min_by_key(|(_, entry)| at(entry)).map(|(digest, _)| *digest)
    {
        map.remove(&oldest);
    }
}

/// Failures of the step at hand.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trouble {
    /// How often it failed in a row.
    pub count: u32,
    /// Whether failing often enough ends the update; if not, it waits for better times.
    pub bounded: bool,
    /// Why, and what follows if it ends the update.
    pub verdict: Verdict,
}
