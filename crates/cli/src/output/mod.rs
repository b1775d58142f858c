//! How answers look: for people in aligned text, for programs as JSON.

pub(crate) mod checklist;
pub(crate) mod progress;
mod table;
pub(crate) mod units;

use std::io::Write as _;

use serde::Serialize;

pub(crate) use table::{fields, table};

use crate::failure::Failure;

/// Writes `text` and a line end to standard output.
pub(crate) fn say(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}", text.trim_end_matches('\n')).and_then(|()| out.flush()).map_err(Failure::Output)
}

/// Writes `value` as JSON on one line, for `status --watch --json` and the like.
pub(crate) fn json_line(value: &impl Serialize) -> Result<(), Failure> {
    say(&serde_json::to_string(value).map_err(Failure::Json)?)
}

/// Answers with `value` as JSON, or with `text` of it for people.
pub(crate) fn answer<T: Serialize>(json: bool, value: &T, text: impl FnOnce(&T) -> String) -> Result<(), Failure> {
    if json {
        return say(&serde_json::to_string_pretty(value).map_err(Failure::Json)?);
    }
    say(&text(value))
}

/// `text` without what could move the cursor or ring the bell: it may come from a terminal far away.
pub(crate) fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
