//! Who changed what: rows that are chained by their hashes.
//!
//! The hash of a row is SHA-256 over [`PREFIX`] and the canonical JSON of all of its members but `hash`: no white space,
//! the members of each object in the order of their names (bytes), absent members left out, strings as serde_json writes
//! them. `previous` is among them, so that a row binds all rows before it.

use chrono::{DateTime, Utc};
use fleet_types::Digest;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

/// What the hashed bytes begin with, so that they are no other statement's.
pub const PREFIX: &str = "filial-audit-v1\n";

/// What the first row calls the row before it.
pub const NOTHING_BEFORE: Digest = Digest::new([0; 32]);

/// Most rows in one page.
pub const MAX_PAGE: u64 = 500;

/// Longest `before` or `after` in bytes of canonical JSON; of a longer one length and digest are kept.
pub const MAX_STATE: usize = 4096;

/// A row: one change of state by a person or token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Its number: 1, 2, 3 …
    pub seq: u64,
    /// When, by the server's clock.
    pub at: DateTime<Utc>,
    /// Who.
    pub who: String,
    /// By what: `session ID`, `token ID`, `join-token`, `password` or `console`.
    pub via: String,
    /// From which address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// What was done: the route, or a command at the server itself.
    pub action: String,
    /// To what.
    pub subject: String,
    /// Why, where a reason was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// How it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Value>,
    /// How it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Value>,
    /// The hash of the row before it.
    pub previous: Digest,
    /// Its own hash.
    pub hash: Digest,
}

/// Up to where the chain reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Head {
    /// The number of the last row; 0 if the log is empty.
    pub seq: u64,
    /// Its hash.
    pub hash: Digest,
}

impl Head {
    /// No row yet.
    pub const EMPTY: Self = Self { seq: 0, hash: NOTHING_BEFORE };
}

/// Where the audit stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct AuditHead {
    /// What the database says.
    pub head: Head,
    /// What the file outside the database says; absent while that file does not exist.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub anchor: Option<Head>,
}

/// A page of the audit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct AuditPage {
    /// By number, rising with `after`, falling with `before`.
    pub entries: Vec<Entry>,
    /// `after` or `before` of the next page; none: this is the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<u64>,
}

/// What is wrong with a chain.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// A row says something else than what was hashed.
    #[error("row {0} was changed: its hash does not match its content")]
    Changed(u64),
    /// A row does not follow the one before it.
    #[error("row {found} stands where row {wanted} belongs: a row was removed or rows were reordered")]
    OutOfOrder {
        /// The number that is due.
        wanted: u64,
        /// The number that is there.
        found: u64,
    },
    /// A row names another predecessor than the row before it.
    #[error("row {0} does not continue row {prev}: rows before it were changed, and their hashes with them", prev = .0 - 1)]
    NotContinued(u64),
    /// The chain ends before a head that was kept elsewhere.
    #[error("the chain ends at row {found}, {kept} rows were kept elsewhere: the end was cut off")]
    Truncated {
        /// Where it ends.
        found: u64,
        /// How far it reached.
        kept: u64,
    },
    /// The chain has another row at a head that was kept elsewhere.
    #[error("row {0} is another one than what was kept elsewhere: the chain was rewritten")]
    Rewritten(u64),
}

impl Entry {
    /// The hash that this content has.
    pub fn compute(&self) -> Digest {
        let mut value = serde_json::to_value(self).unwrap_or_default();
        if let Some(object) = value.as_object_mut() {
            object.remove("hash");
        }
        let mut text = PREFIX.to_owned();
        canonical(&value, &mut text);
        let bytes: [u8; 32] = Sha256::digest(text.as_bytes()).into();
        Digest::new(bytes)
    }
}

/// Appends `value` as canonical JSON.
pub fn canonical(value: &Value, out: &mut String) {
    match value {
        Value::Object(members) => {
            let mut names: Vec<&String> = members.keys().collect();
            names.sort();
            out.push('{');
            for (i, name) in names.into_iter().enumerate() {
                out.push_str(if i > 0 { "," } else { "" });
                out.push_str(&Value::from(name.as_str()).to_string());
                out.push(':');
                canonical(&members[name], out);
            }
            out.push('}');
        }
        Value::Array(items) => {
            out.push('[');
            for (i, item) in items.iter().enumerate() {
                out.push_str(if i > 0 { "," } else { "" });
                canonical(item, out);
            }
            out.push(']');
        }
        simple => out.push_str(&simple.to_string()),
    }
}

/// Follows a chain row by row, in any number of pieces.
#[derive(Debug, Clone)]
pub struct Verifier {
    reached: Head,
    kept: Vec<Head>,
}

impl Verifier {
    /// From the first row on, against heads that were kept elsewhere (an anchor, signed plans).
    pub fn new(kept: impl IntoIterator<Item = Head>) -> Self {
        Self { reached: Head::EMPTY, kept: kept.into_iter().collect() }
    }

    /// The next row.
    ///
    /// # Errors
    /// The entry does not continue the chain.
    pub fn push(&mut self, entry: &Entry) -> Result<(), Broken> {
        let wanted = self.reached.seq + 1;
        if entry.seq != wanted {
            return Err(Broken::OutOfOrder { wanted, found: entry.seq });
        }
        if entry.previous != self.reached.hash {
            return Err(Broken::NotContinued(entry.seq));
        }
        if entry.compute() != entry.hash {
            return Err(Broken::Changed(entry.seq));
        }
        self.reached = Head { seq: entry.seq, hash: entry.hash };
        match self.kept.iter().any(|kept| kept.seq == entry.seq && kept.hash != entry.hash) {
            true => Err(Broken::Rewritten(entry.seq)),
            false => Ok(()),
        }
    }

    /// The chain ends here.
    ///
    /// # Errors
    /// A head that was kept lies beyond.
    pub fn finish(self) -> Result<Head, Broken> {
        match self.kept.iter().map(|kept| kept.seq).max() {
            Some(kept) if kept > self.reached.seq => Err(Broken::Truncated { found: self.reached.seq, kept }),
            _ => Ok(self.reached),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn chain(n: u64) -> Vec<Entry> {
        let mut previous = NOTHING_BEFORE;
        (1..=n)
            .map(|seq| {
                let mut entry = Entry {
                    seq,
                    at: DateTime::from_timestamp_micros(1_900_000_000_000_001).unwrap(),
                    who: "ann".into(),
                    via: "console".into(),
                    address: None,
                    action: "bootstrap".into(),
                    subject: format!("operator n{seq}"),
                    reason: Some("\"quoted\" \u{1} ю".into()),
                    before: None,
                    after: Some(json!({ "b": [1, null, true], "a": { "z": "", "y": -1 } })),
                    previous,
                    hash: NOTHING_BEFORE,
                };
                entry.hash = entry.compute();
                previous = entry.hash;
                entry
            })
            .collect()
    }

    fn verify(chain: &[Entry], kept: &[Head]) -> Result<Head, Broken> {
        let mut verifier = Verifier::new(kept.iter().copied());
        chain.iter().try_for_each(|entry| verifier.push(entry))?;
        verifier.finish()
    }

    fn head(chain: &[Entry]) -> Head {
        chain.last().map_or(Head::EMPTY, |e| Head { seq: e.seq, hash: e.hash })
    }

    #[test]
    fn canonical_json_has_no_choices() {
        let mut text = String::new();
        canonical(&chain(1)[0].after.clone().unwrap(), &mut text);
        assert_eq!(text, r#"{"a":{"y":-1,"z":""},"b":[1,null,true]}"#);
    }

    #[test]
    fn a_row_survives_its_way_through_json() {
        let entry = chain(1).remove(0);
        let back: Entry = serde_json::from_str(&serde_json::to_string_pretty(&entry).unwrap()).unwrap();
        assert_eq!((back.compute(), &back), (entry.hash, &entry));
    }

    #[test]
    fn changed_removed_reordered_and_truncated_rows_are_each_detected() {
        let good = chain(5);
        assert_eq!(verify(&good, &[head(&good), head(&good[..2]), Head::EMPTY]), Ok(head(&good)));
        let mut changed = good.clone();
        changed[2].who = "eve".into();
        assert_eq!(verify(&changed, &[]), Err(Broken::Changed(3)));
        changed[2].hash = changed[2].compute();
        assert_eq!(verify(&changed, &[]), Err(Broken::NotContinued(4)));
        let mut removed = good.clone();
        removed.remove(2);
        assert_eq!(verify(&removed, &[]), Err(Broken::OutOfOrder { wanted: 3, found: 4 }));
        let mut reordered = good.clone();
        reordered.swap(1, 2);
        assert_eq!(verify(&reordered, &[]), Err(Broken::OutOfOrder { wanted: 2, found: 3 }));
        let renumbered = {
            let mut r = reordered;
            (r[1].seq, r[2].seq) = (2, 3);
            r
        };
        assert_eq!(verify(&renumbered, &[]), Err(Broken::NotContinued(2)));
        assert_eq!(verify(&good[..4], &[]), Ok(head(&good[..4])), "only what was kept elsewhere tells");
        assert_eq!(verify(&good[..4], &[head(&good)]), Err(Broken::Truncated { found: 4, kept: 5 }));
        let mut anew = chain(6);
        anew[0].who = "eve".into();
        let mut previous = NOTHING_BEFORE;
        for entry in &mut anew {
            entry.previous = previous;
            entry.hash = entry.compute();
            previous = entry.hash;
        }
        assert_eq!(verify(&anew, &[head(&good)]), Err(Broken::Rewritten(5)));
    }

    #[test]
    fn every_member_of_a_row_is_bound() {
        let entry = chain(1).remove(0);
        let value = serde_json::to_value(&entry).unwrap();
        for name in ["seq", "at", "who", "via", "action", "subject", "reason", "after", "previous"] {
            let mut other = value.clone();
            other[name] = match name {
                "seq" => json!(2),
                "at" => json!("2031-01-01T00:00:00Z"),
                "previous" => json!("11".repeat(32)),
                _ => json!("other"),
            };
            let other: Entry = serde_json::from_value(other).unwrap();
            assert_ne!(other.compute(), entry.hash, "{name}");
        }
        for (name, text) in [("address", "10.0.0.1"), ("before", "x")] {
            let mut other = value.clone();
            other[name] = json!(text);
            let other: Entry = serde_json::from_value(other).unwrap();
            assert_ne!(other.compute(), entry.hash, "{name}");
        }
    }
}
