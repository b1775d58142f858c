//! What is left of a boot that failed: the last lines of its log. All of it is text that a stranger may have written,
//! so each part is a bounded type that refuses more, and none holds what could move a cursor.

use fleet_types::Slot;
use serde::{Deserialize, Serialize};

use fleet_types::is_plain;

/// Most lines of a log that travel.
pub const MAX_LINES: usize = 60;

/// Most bytes of a log that travel, an end of line counted for each line.
pub const MAX_TAIL: usize = 8 * 1024;

/// Longest [`Word`], in bytes.
pub const MAX_WORD: usize = 64;

/// Longest [`Sentence`], in bytes.
pub const MAX_SENTENCE: usize = 512;

/// Most boots that are said to have been tried.
pub const MAX_TRIED: u32 = 99;

/// The source of lines that the system's journal kept.
pub const JOURNAL: &str = "journal";

/// The source of lines that the kernel logged before the system's journal began.
pub const KERNEL: &str = "kernel";

/// Why a text was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} must be {rule}")]
pub struct TextError {
    what: &'static str,
    rule: String,
}

macro_rules! bounded {
    ($(#[$doc:meta])* $type:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
        #[serde(try_from = "String", into = "String")]
        #[schema(value_type = String)]
        pub struct $type(String);

        impl $type {
            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl From<$type> for String {
            fn from(text: $type) -> Self {
                text.0
            }
        }

        impl std::fmt::Display for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(&self.0)
            }
        }
    };
}

bounded!(
    /// An identifier: 1 to [`MAX_WORD`] of a-z, 0-9 and '-', beginning with a letter or digit.
    Word
);

bounded!(
    /// A sentence for people: 1 to [`MAX_SENTENCE`] printable bytes.
    Sentence
);

impl TryFrom<String> for Word {
    type Error = TextError;

    fn try_from(text: String) -> Result<Self, TextError> {
        let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        if text.is_empty() || text.len() > MAX_WORD || text.starts_with('-') || !text.bytes().all(inner) {
            let rule = format!("1 to {MAX_WORD} of a-z, 0-9 and '-', beginning with a letter or digit");
            return Err(TextError { what: "an identifier", rule });
        }
        Ok(Self(text))
    }
}

impl TryFrom<String> for Sentence {
    type Error = TextError;

    fn try_from(text: String) -> Result<Self, TextError> {
        if text.is_empty() || text.len() > MAX_SENTENCE || !text.chars().all(is_plain) {
            return Err(TextError { what: "a sentence", rule: format!("1 to {MAX_SENTENCE} printable bytes") });
        }
        Ok(Self(text))
    }
}

impl Sentence {
    /// Of a text, whatever it holds: cut, and without what is not printable; `None` if nothing is left.
    pub fn of(text: &str) -> Option<Self> {
        let text = fleet_types::printable(text);
        let text = text[..text.floor_char_boundary(MAX_SENTENCE)].trim();
        (!text.is_empty()).then(|| Self(text.to_owned()))
    }
}

/// The last lines of a log, oldest first: at most [`MAX_LINES`] and [`MAX_TAIL`] bytes, printable.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(try_from = "Vec<String>", into = "Vec<String>")]
#[schema(value_type = Vec<String>)]
pub struct Tail(Vec<String>);

impl TryFrom<Vec<String>> for Tail {
    type Error = TextError;

    fn try_from(lines: Vec<String>) -> Result<Self, TextError> {
        let bytes: usize = lines.iter().map(|line| line.len() + 1).sum();
        if lines.len() > MAX_LINES || bytes > MAX_TAIL || !lines.iter().all(|line| line.chars().all(is_plain)) {
            let rule = format!("at most {MAX_LINES} printable lines and {MAX_TAIL} bytes");
            return Err(TextError { what: "the end of a log", rule });
        }
        Ok(Self(lines))
    }
}

impl From<Tail> for Vec<String> {
    fn from(tail: Tail) -> Self {
        tail.0
    }
}

impl Tail {
    /// The end of a log, whatever bytes it holds. The oldest is cut first, and of a line that is too long its beginning.
    pub fn of(log: &[u8]) -> Self {
        let text = String::from_utf8_lossy(log);
        let (mut lines, mut left) = (Vec::new(), MAX_TAIL);
        for line in text.split('\n').rev().map(clean).filter(|line| !line.is_empty()) {
            if lines.len() == MAX_LINES || left <= 1 {
                break;
            }
            let begin = line.ceil_char_boundary(line.len().saturating_sub(left - 1));
            lines.push(line[begin..].to_owned());
            left -= line.len() - begin + 1;
            if begin > 0 {
                break;
            }
        }
        lines.reverse();
        Self(lines)
    }

    /// The lines, oldest first.
    pub fn lines(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }

    /// Returns whether it is empty.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// A line without what is not printable. A tabulator is a space, an escape sequence loses the byte that makes it one.
fn clean(line: &str) -> String {
    let line: String =
        line.chars().filter_map(|c| if c == '\t' { Some(' ') } else { Some(c).filter(|c| is_plain(*c)) }).collect();
    line.trim_end().to_owned()
}

/// The last lines of the last failed boot of an update that was rolled back, as the terminal found them afterwards.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct BootEvidence {
    /// The slot that was tried.
    pub slot: Slot,
    /// How many boots of it are known to have failed; at most [`MAX_TRIED`].
    pub tried: u32,
    /// The last of them, as its kernel called it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot_id: Option<Word>,
    /// Who kept the lines: [`JOURNAL`], [`KERNEL`]; absent if the lines were not kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<Word>,
    /// What is to be known of the lines: why they are missing, or why they are not the journal's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<Sentence>,
    /// The lines.
    #[serde(default, skip_serializing_if = "Tail::is_empty")]
    pub lines: Tail,
    /// The terminal's ed25519 signature of the evidence statement, as 128 hexadecimal digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proof: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn of_a_long_log_the_oldest_is_cut_first() {
        let log: String = (0..200).map(|n| format!("line {n}\n")).collect();
        let tail = Tail::of(log.as_bytes());
        assert_eq!(tail.lines().count(), MAX_LINES);
        assert_eq!((tail.lines().next(), tail.lines().last()), (Some("line 140"), Some("line 199")));
        let wide: String = (0..20).map(|n| format!("{n} {}\n", "ж".repeat(400))).collect();
        let tail = Tail::of(wide.as_bytes());
        let lines: Vec<_> = tail.lines().collect();
        assert!(lines.len() < 12 && lines[lines.len() - 1].starts_with("19 "), "{} lines", lines.len());
        assert!(!lines[0].contains(' '), "of the oldest that still fits, its end");
        assert_eq!(Tail::of(b"\n\r\n \n").lines().count(), 0);
    }

    #[test]
    fn nothing_of_a_log_moves_a_cursor() {
        let tail = Tail::of(b"\x1b[31mred\x07\tand\x9b2J \xff\r\n\xe2\x80\xaeevil\nlast\0");
        assert_eq!(tail.lines().collect::<Vec<_>>(), ["[31mred and\u{fffd}2J \u{fffd}", "evil", "last"]);
        assert_eq!(Sentence::of("\x1b[2J\n").map(String::from).as_deref(), Some("[2J"));
        assert_eq!(Sentence::of("\n\x1b"), None);
    }

    #[test]
    fn more_than_the_bounds_is_refused() {
        let tail = |lines: &[&str]| serde_json::from_value::<Tail>(serde_json::json!(lines));
        assert!(tail(&["x"; MAX_LINES]).is_ok());
        assert!(tail(&["x"; MAX_LINES + 1]).unwrap_err().to_string().contains("at most 60"));
        assert!(tail(&[&"x".repeat(MAX_TAIL - 1)]).is_ok());
        assert!(tail(&[&"x".repeat(MAX_TAIL)]).is_err());
        for hostile in ["a\nb", "\u{1b}[2J", "\0", "\u{85}", "\u{202e}"] {
            assert!(tail(&[hostile]).is_err(), "{hostile:?}");
            assert!(serde_json::from_value::<Sentence>(serde_json::json!(hostile)).is_err(), "{hostile:?}");
            assert!(serde_json::from_value::<Word>(serde_json::json!(hostile)).is_err(), "{hostile:?}");
        }
        assert!(Word::try_from("7".repeat(MAX_WORD)).is_ok());
        for bad in ["", "-", "-a", "A", &"7".repeat(MAX_WORD + 1)] {
            assert!(Word::try_from(bad.to_owned()).is_err(), "{bad}");
        }
        assert!(Sentence::try_from("x".repeat(MAX_SENTENCE + 1)).is_err());
    }

    proptest! {
        #[test]
        fn whatever_a_log_holds_its_tail_is_taken(log in proptest::collection::vec(any::<u8>(), 0..20_000)) {
            let tail = Tail::of(&log);
            let json = serde_json::to_string(&tail).unwrap();
            prop_assert_eq!(serde_json::from_str::<Tail>(&json).unwrap(), tail);
        }
    }
}
