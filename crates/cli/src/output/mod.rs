//! Prints answers: aligned text for people, JSON for programs.

pub(crate) mod checklist;
pub(crate) mod done;
pub(crate) mod progress;
pub(crate) mod release;
mod table;
pub(crate) mod units;

use serde::Serialize;
use service_kit::output;

pub(crate) use table::{fields, table};

use crate::failure::Failure;

/// Writes `text` for people and a line end to standard output.
pub(crate) fn say(text: &str) -> Result<(), Failure> {
    output::line(text.trim_end_matches('\n')).map_err(Failure::Output)
}

/// Writes JSON and a line end to standard output.
fn say_json(json: &str) -> Result<(), Failure> {
    output::line(escaped(json)).map_err(Failure::Output)
}

/// The same JSON, in which nothing moves anything on a screen: such characters stand only in strings.
fn escaped(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    for c in json.chars() {
        if c == '\n' || fleet_types::is_plain(c) {
            text.push(c);
        } else {
            c.encode_utf16(&mut [0; 2]).iter().for_each(|unit| text.push_str(&format!("\\u{unit:04x}")));
        }
    }
    text
}

/// Writes `value` as JSON on one line, for `status --watch --json` and the like.
pub(crate) fn json_line(value: &impl Serialize) -> Result<(), Failure> {
    say_json(&serde_json::to_string(value).map_err(Failure::Json)?)
}

/// Prints `value` as JSON, or its `text` for people.
pub(crate) fn answer<T: Serialize>(json: bool, value: &T, text: impl FnOnce(&T) -> String) -> Result<(), Failure> {
    if json {
        return say_json(&serde_json::to_string_pretty(value).map_err(Failure::Json)?);
    }
    say(&text(value))
}

/// `text` in one line of a table: what came from elsewhere may hold ends of lines.
pub(crate) fn plain(text: &str) -> String {
    fleet_types::printable(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_for_programs_keeps_its_values_and_moves_nothing_on_a_screen() {
        let value = serde_json::json!({ "a": "x\u{202e}y\u{9b}z\u{7f}", "b": ["é\n"] });
        let text = escaped(&serde_json::to_string_pretty(&value).unwrap());
        assert!(text.chars().all(|c| c == '\n' || fleet_types::is_plain(c)), "{text:?}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&text).unwrap(), value);
    }
}
