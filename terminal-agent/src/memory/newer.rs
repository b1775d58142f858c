//! A journal that an agent one format newer wrote, as far as this one knows it. That agent was confirmed here once, so the
//! journal is good; what is not known of it is left out on purpose: it is written back in this agent's own format, and a
//! newer agent that comes again takes its defaults, as from any journal of this format.
//!
//! Each part is taken by itself, so that one new word in a report does not cost the memory of failed releases.

use serde::Deserialize;
use serde_json::{Map, Value};
use uuid::Uuid;

use super::journal::{FORMAT, Held, Journal};
use crate::memory::queue::Reports;
use crate::model::memory::{Blamed, Setback, Unjudged};
use crate::model::package::Package;
use crate::model::state::State;
use crate::model::update::Retry;

/// Reads it; the result is of this agent's own format.
///
/// # Errors
/// Not a valid journal: its time of beginning is missing.
pub fn read(bytes: &[u8], fresh: Uuid) -> Result<Journal, serde_json::Error> {
    let mut found: Map<String, Value> = serde_json::from_slice(bytes)?;
    let mut part = |name: &str| found.remove(name).unwrap_or_default();
    let (reports, mut state, mut memory) = (part("reports"), part("state"), part("memory"));
    let since = serde_json::from_value(part("since"))?;
    let mut journal = Journal { format: FORMAT, ..Journal::new(fresh, since) };
    journal.reports = Reports::of_newer(&reports, fresh);
    journal.state = known_state(&mut state);
    for (name, known) in [
        ("confirmed", is::<fleet_types::Digest> as fn(&Value) -> bool),
        ("blamed", is::<Blamed>),
        ("setbacks", is::<Setback>),
        ("unjudged", is::<Unjudged>),
    ] {
        if let Some(entries) = memory.get_mut(name) {
            each(entries, cautious);
            keep(entries, known);
        }
    }
    let (mut artifacts, mut packages) = (part("artifacts"), part("packages"));
    keep(&mut artifacts, is::<Held>);
    keep(&mut packages, is::<Package>);
    fill("memory", memory, &mut journal.memory);
    fill("artifacts", artifacts, &mut journal.artifacts);
    fill("packages", packages, &mut journal.packages);
    fill("floor", part("floor"), &mut journal.floor);
    fill("newest", part("newest"), &mut journal.newest);
    fill("announced", part("announced"), &mut journal.announced);
    fill("facts", part("facts"), &mut journal.facts);
    fill("refuses", part("refuses"), &mut journal.refuses);
    fill("waiting", part("waiting"), &mut journal.waiting);
    let mut trouble = part("trouble");
    trouble.get_mut("verdict").into_iter().for_each(cautious);
    fill("trouble", trouble, &mut journal.trouble);
    Ok(journal)
}

/// An unknown state counts as idle.
///
/// The bootloader says what runs and what is on trial, the memory what failed.
fn known_state(state: &mut Value) -> State {
    for verdict in ["/verdict", "/boot/verdict"] {
        state.pointer_mut(verdict).into_iter().for_each(cautious);
    }
    State::deserialize(&*state)
        .or_else(|_| {
            if let Value::Object(fields) = &mut *state {
                fields.remove("evidence");
            }
            State::deserialize(&*state)
        })
        .unwrap_or_else(|error| {
            tracing::warn!(%error, "the newer journal's state is not known here: nothing is under way");
            State::Idle
        })
}

/// What follows a bad end in a way that is not known waits for a newer plan.
///
/// Nothing is tried again by itself.
fn cautious(verdict: &mut Value) {
    if let Some(then) = verdict.get_mut("then").filter(|then| !is::<Retry>(then)) {
        *then = Value::String("next-plan".to_owned());
    }
}

fn is<T: for<'a> Deserialize<'a>>(value: &Value) -> bool {
    T::deserialize(value).is_ok()
}

fn each(entries: &mut Value, edit: fn(&mut Value)) {
    if let Value::Object(entries) = entries {
        entries.values_mut().for_each(edit);
    }
}

fn keep(entries: &mut Value, known: fn(&Value) -> bool) {
    if let Value::Object(entries) = entries {
        entries.retain(|_, entry| known(entry));
    }
}

fn fill<T: for<'a> Deserialize<'a>>(name: &str, found: Value, into: &mut T) {
    match T::deserialize(found) {
        Ok(known) => *into = known,
        Err(error) => tracing::warn!(%error, part = name, "a part of the newer journal is not known here: left out"),
    }
}
