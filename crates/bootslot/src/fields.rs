//! Parses and formats the three variables, the same in every store.

use fleet_types::Slot;

use crate::error::BlockError;
use crate::marks::{Stored, Verified};
use crate::state::{BootState, MAX_ATTEMPTS, Trial};

/// The variables' names in GRUB's and U-Boot's environment.
pub(crate) const NAMES: [&str; 3] = ["filial_default", "filial_trial", "filial_trial_left"];

/// Parses the state from three values, in the order of `names`.
pub(crate) fn decode(names: [&'static str; 3], values: [&str; 3]) -> Result<Stored, BlockError> {
    let bad = |index: usize| BlockError::Value { name: names[index], value: values[index].chars().take(32).collect() };
    let [default, trial, left] = values;
    let default = default.parse::<Slot>().map_err(|_| bad(0))?;
    let left = digit(left).ok_or_else(|| bad(2))?;
    let trial = match trial {
        "" => None,
        slot => Some(Trial { slot: slot.parse::<Slot>().map_err(|_| bad(1))?, left }),
    };
    match trial {
        Some(trial) if trial.slot == default => Err(bad(1)),
        None => Ok(Stored { state: BootState::settled(default), verified: Verified::of_digit(left) }),
        trial => Ok(BootState { default, trial }.into()),
    }
}

/// Formats the three values of a state.
pub(crate) fn encode(Stored { state, verified }: &Stored) -> [String; 3] {
    let trial = state.trial.map_or("", |t| t.slot.as_str());
    let marks = verified.map_or(0, Verified::digit);
    let left = state.trial.map_or(marks, |t| t.left.min(MAX_ATTEMPTS));
    [state.default.to_string(), trial.to_owned(), left.to_string()]
}

/// One digit: the bootloaders' scripts know "3", and neither "03" nor "+3".
fn digit(text: &str) -> Option<u8> {
    match text.as_bytes() {
        [digit @ b'0'..=b'9'] => Some(digit - b'0'),
        _ => None,
    }
}

/// Formats the lines `name=value` of a tool's input and answer.
pub(crate) fn to_lines(names: [&'static str; 3], stored: &Stored) -> String {
    names.iter().zip(encode(stored)).map(|(name, value)| format!("{name}={value}\n")).collect()
}

/// Why a tool's lines were refused.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum LinesError {
    /// They are not an answer.
    Answer(&'static str),
    /// They are an answer without a valid state.
    State(BlockError),
}

/// Parses such lines: each name once, in any order, and nothing else.
pub(crate) fn from_lines(names: [&'static str; 3], lines: &[u8]) -> Result<Stored, LinesError> {
    let text = std::str::from_utf8(lines).map_err(|_| LinesError::Answer("the answer is not text"))?;
    let text = text.strip_suffix('\n').ok_or(LinesError::Answer("the last line is truncated"))?;
    let mut values = [None; 3];
    for line in text.split('\n') {
        let (name, value) = line.split_once('=').ok_or(LinesError::Answer("a line is not name=value"))?;
        let index = names.iter().position(|n| *n == name).ok_or(LinesError::Answer("a name is unknown"))?;
        if values[index].replace(value).is_some() {
            return Err(LinesError::State(BlockError::Twice(names[index])));
        }
    }
    let value = |index: usize| values[index].ok_or(LinesError::State(BlockError::Missing(names[index])));
    decode(names, [value(0)?, value(1)?, value(2)?]).map_err(LinesError::State)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_in_any_order_and_nothing_is_guessed() {
        let trial = Stored::from(BootState { default: Slot::A, trial: Some(Trial { slot: Slot::B, left: 2 }) });
        assert_eq!(to_lines(["a", "b", "c"], &trial), "a=A\nb=B\nc=2\n");
        let read = |lines: &str| from_lines(["a", "b", "c"], lines.as_bytes());
        assert_eq!(read("c=2\na=A\nb=B\n"), Ok(trial));
        let marked = Stored::settled(Slot::B, Verified::only(Slot::A));
        assert_eq!(to_lines(["a", "b", "c"], &marked), "a=B\nb=\nc=5\n");
        assert_eq!(read("a=B\nb=\nc=5\n"), Ok(marked));
        assert_eq!(read("a=B\nb=A\nc=5\n").map(|s| s.verified), Ok(None), "on trial it is the attempts");
        for answer in ["", "a=A\nb=B\nc=2", "a=A\nb=B\nc=2\n\n", "a=A\nb=B\nc=2\nd=1\n", "hello\n"] {
            assert!(matches!(read(answer), Err(LinesError::Answer(_))), "{answer:?}");
        }
        assert_eq!(read("a=A\nb=B\n"), Err(LinesError::State(BlockError::Missing("c"))));
        assert_eq!(read("a=A\na=A\nb=\nc=0\n"), Err(LinesError::State(BlockError::Twice("a"))));
        for state in ["a=C\nb=\nc=0\n", "a=A\nb=A\nc=1\n", "a=A\nb=B\nc=10\n", "a=A\nb=B\nc=+1\n", "a=A\nb=B\nc=\n"] {
            assert!(matches!(read(state), Err(LinesError::State(BlockError::Value { .. }))), "{state:?}");
        }
    }
}
