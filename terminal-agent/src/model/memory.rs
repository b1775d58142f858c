//! What earlier updates taught.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use fleet_types::{Digest, Slot, Version};
use serde::{Deserialize, Serialize};
use wire::v1::reports::Reason;

use super::update::{Retry, Update, Verdict};

/// Most digests remembered as failed, most setbacks and most unjudged payloads: the oldest are forgotten.
const MAX_REMEMBERED: usize = 64;

/// Stands for content that is no payload which a plan named when it was looked at.
pub const OTHER_CONTENT: Digest = Digest::new([0; 32]);

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

/// A payload whose trials ended without a judgement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unjudged {
    /// Its version.
    pub version: Version,
    /// Trials so far, under any plan.
    pub trials: u32,
    /// When the last one ended.
    pub at: DateTime<Utc>,
    /// Why it ended.
    pub reason: Reason,
}

/// What earlier updates taught.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// The payload that each slot holds, once it was confirmed there or found in a slot that was delivered.
    ///
    /// [`OTHER_CONTENT`] if that slot holds something else. Forgotten before the slot is written to.
    pub confirmed: BTreeMap<Slot, Digest>,
    /// Payloads that are not tried again by themselves.
    pub blamed: BTreeMap<Digest, Blamed>,
    /// Payloads that are tried again under conditions.
    pub setbacks: BTreeMap<Digest, Setback>,
    /// Payloads whose trials said nothing about them so far.
    ///
    /// An older agent ignores this part and drops it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub unjudged: BTreeMap<Digest, Unjudged>,
}

impl Memory {
    /// Remembers a bad end.
    pub fn learn(&mut self, update: &Update, verdict: &Verdict, at: DateTime<Utc>) {
        let (payload, reason) = (update.payload.sha256, verdict.reason.clone());
        if verdict.retry == Retry::Never {
            self.setbacks.remove(&payload);
            self.unjudged.remove(&payload);
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

    /// Remembers the end of a trial; one that ended without a judgement is counted.
    pub fn learn_trial(&mut self, update: &Update, verdict: &Verdict, at: DateTime<Utc>) {
        let (payload, reason) = (update.payload.sha256, verdict.reason.clone());
        let trials = self.unjudged_trials(&payload).saturating_add(1);
        self.unjudged.insert(payload, Unjudged { version: update.version.clone(), trials, at, reason });
        forget_oldest(&mut self.unjudged, |u| u.at);
        self.learn(update, verdict, at);
    }

    /// Returns how many trials of a payload ended without a judgement.
    pub fn unjudged_trials(&self, payload: &Digest) -> u32 {
        self.unjudged.get(payload).map_or(0, |u| u.trials)
    }

    /// Remembers that a payload was confirmed in this slot.
    pub fn confirm(&mut self, slot: Slot, payload: Digest) {
        self.setbacks.remove(&payload);
        self.unjudged.remove(&payload);
        self.confirmed.insert(slot, payload);
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
