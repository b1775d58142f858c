//! Prints answers: aligned text for people, JSON for programs.

pub(crate) mod checklist;
pub(crate) mod progress;
pub(crate) mod release;
mod table;
pub(crate) mod units;

use serde::Serialize;
use service_kit::output;

pub(crate) use table::{fields, table};

use crate::failure::Failure;

/// Writes `text` and a line end to standard output.
pub(crate) fn say(text: &str) -> Result<(), Failure> {
    output::line(text.trim_end_matches('\n')).map_err(Failure::Output)
}

/// Writes `value` as JSON on one line, for `status --watch --json` and the like.
pub(crate) fn json_line(value: &impl Serialize) -> Result<(), Failure> {
    say(&serde_json::to_string(value).map_err(Failure::Json)?)
}

/// Prints `value` as JSON, or its `text` for people.
pub(crate) fn answer<T: Serialize>(json: bool, value: &T, text: impl FnOnce(&T) -> String) -> Result<(), Failure> {
    if json {
        return say(&serde_json::to_string_pretty(value).map_err(Failure::Json)?);
    }
    say(&text(value))
}

/// `text` without control characters: it may come from an untrusted machine.
pub(crate) fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
