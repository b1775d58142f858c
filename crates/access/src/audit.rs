//! The audit: a row for each change of state that a person or a token makes, in the same transaction as the change, and
//! chained by hashes ([`wire::v1::audit`]). How far the chain reaches is also written to a file outside the database
//! ([`super::anchor`]), and [`db::audit::head`] is what a signed plan carries.
//!
//! A row must never hold a secret, nor be written for a change that did not happen.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use service_kit::Clock;
use service_kit::database::{DatabaseError, GenericClient, Transaction, commit};
use service_kit::server::Caller;
use sha2::{Digest as _, Sha256};
use wire::v1::audit::{Entry, Head, MAX_STATE, NOTHING_BEFORE, canonical};

use super::anchor::Anchor;
use crate::db;

/// Longest subject, in bytes.
const MAX_SUBJECT: usize = 256;

/// What changed.
#[derive(Debug, Clone, Default)]
pub struct Change {
    subject: String,
    reason: Option<String>,
    before: Option<Value>,
    after: Option<Value>,
}

impl Change {
    /// A change of `subject`, such as `branch north`.
    pub fn of(subject: impl Into<String>) -> Self {
        let mut subject = subject.into();
        subject.truncate(subject.floor_char_boundary(MAX_SUBJECT));
        Self { subject, ..Self::default() }
    }

    /// Why, if the operator gave a reason.
    #[must_use]
    pub fn because(mut self, reason: Option<&str>) -> Self {
        // PostgreSQL's text has no NUL.
        let reason = reason.map(|text| wire::clip_reason(text.trim()).replace('\0', ""));
        self.reason = reason.filter(|text| !text.is_empty());
        self
    }

    /// How it was.
    #[must_use]
    pub fn before(mut self, state: Value) -> Self {
        self.before = Some(bounded(state));
        self
    }

    /// How it is.
    #[must_use]
    pub fn after(mut self, state: Value) -> Self {
        self.after = Some(bounded(state));
        self
    }
}

/// A state as it is kept: of a long one length and digest.
fn bounded(state: Value) -> Value {
    let mut text = String::new();
    canonical(&state, &mut text);
    if text.len() <= MAX_STATE {
        return state;
    }
    let digest: [u8; 32] = Sha256::digest(text.as_bytes()).into();
    json!({ "bytes": text.len(), "sha256": fleet_types::Digest::new(digest) })
}

/// Adds a row. The last thing before the commit: from here on other writers wait.
///
/// Every transaction takes its locks in one order, so that no two wait for each other: what it changes first (operators before their
/// sessions and tokens), the end of the audit last.
///
/// # Errors
/// The database failed.
pub async fn record<C: GenericClient>(
    c: &C,
    caller: &Caller,
    change: Change,
    now: DateTime<Utc>,
) -> Result<Head, DatabaseError> {
    let last = db::audit::lock_head(c).await?;
    let mut entry = Entry {
        seq: last.seq + 1,
        at: now,
        who: caller.name.clone(),
        via: caller.via.to_string(),
        address: caller.address.map(|a| a.to_string()),
        action: caller.action.clone(),
        subject: change.subject,
        reason: change.reason,
        before: change.before,
        after: change.after,
        previous: last.hash,
        hash: NOTHING_BEFORE,
    };
    entry.hash = entry.compute();
    db::audit::insert(c, &entry).await?;
    Ok(Head { seq: entry.seq, hash: entry.hash })
}

/// The audit of a server that runs.
pub struct Audit {
    clock: Arc<dyn Clock>,
    anchor: Anchor,
}

impl Audit {
    /// Rows get their time from `clock`; the number of the last one is written to `anchor`.
    pub fn new(clock: Arc<dyn Clock>, anchor: Anchor) -> Self {
        Self { clock, anchor }
    }

    /// Adds a row, commits it with the change, and anchors it.
    ///
    /// # Errors
    /// The database failed: then neither happened, or it is unknown whether both did.
    pub async fn commit(
        &self,
        transaction: Transaction<'_>,
        caller: &Caller,
        change: Change,
    ) -> Result<(), DatabaseError> {
        let head = record(&transaction, caller, change, self.clock.now()).await?;
        commit(transaction).await?;
        self.anchor.advance(head).await;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_that_is_too_long_is_kept_by_its_digest() {
        assert_eq!(bounded(json!({ "a": 1 })), json!({ "a": 1 }));
        let long = bounded(json!("x".repeat(5000)));
        assert_eq!(long["bytes"], 5002);
        assert_eq!(long["sha256"].as_str().unwrap().len(), 64);
    }

    #[test]
    fn texts_are_bounded_and_fit_the_database() {
        let change = Change::of("ю".repeat(200)).because(Some(" a\0b "));
        assert_eq!((change.subject.len(), change.reason.as_deref()), (256, Some("ab")));
        assert_eq!(Change::of("x").because(Some("  ")).reason, None);
        assert_eq!(Change::of("x").because(Some(&"y".repeat(5000))).reason.unwrap().len(), wire::MAX_REASON_LEN);
    }
}
