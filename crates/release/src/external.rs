//! Parses the answer of the external command; running it is the caller's task.

use fleet_types::is_invisible;
use serde::Deserialize;
use wire::v1::releases::Verdict;

/// Longest accepted cause or remedy of the command, in bytes.
const MAX_TEXT: usize = 600;

/// The outcome of the external command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum External {
    /// It answered.
    Answered {
        /// Its verdict.
        verdict: Verdict,
        /// Why, one sentence.
        cause: String,
        /// What to do; empty on `pass`.
        remedy: String,
    },
    /// It did not answer properly; never a pass.
    Failed {
        /// Why, one sentence.
        why: String,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Answer {
    verdict: Verdict,
    #[serde(default)]
    cause: String,
    #[serde(default)]
    remedy: String,
}

impl External {
    /// A failure because of `why`, with control characters removed.
    pub fn failed(why: impl AsRef<str>) -> Self {
        Self::Failed { why: clean(why.as_ref()) }
    }

    /// Parses the standard output of the command:
    /// `{"verdict": "pass" | "warn" | "unknown" | "fail", "cause": "…", "remedy": "…"}`.
    pub fn read(output: &[u8]) -> Self {
        let answer: Answer = match serde_json::from_slice(output) {
            Ok(answer) => answer,
            Err(e) => return Self::failed(format!("The command's answer is not the expected JSON: {e}.")),
        };
        let or = |text: String, default: &str| if text.is_empty() { default.to_owned() } else { text };
        let cause = or(clean(&answer.cause), "The command gave no cause.");
        let remedy = match answer.verdict {
            Verdict::Pass => String::new(),
            _ => or(clean(&answer.remedy), "Ask the maintainer of the command under [external] in policy.toml."),
        };
        Self::Answered { verdict: answer.verdict, cause, remedy }
    }
}

/// Cleans text for a screen and a database, in one line.
fn clean(text: &str) -> String {
    let mut clean = String::new();
    for c in text.chars().map(|c| if c.is_whitespace() { ' ' } else { c }) {
        if clean.len() + c.len_utf8() > MAX_TEXT {
            break;
        }
        if !c.is_control() && !is_invisible(c) {
            clean.push(c);
        }
    }
    clean.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read() {
        let answered = |verdict, cause: &str, remedy: &str| External::Answered {
            verdict,
            cause: cause.to_owned(),
            remedy: remedy.to_owned(),
        };
        for (output, expected) in [
            (r#"{"verdict":"pass"}"#, answered(Verdict::Pass, "The command gave no cause.", "")),
            (r#" {"verdict":"pass","cause":"Fine.","remedy":"x"} "#, answered(Verdict::Pass, "Fine.", "")),
            (r#"{"verdict":"fail","cause":"No.","remedy":"Do."}"#, answered(Verdict::Fail, "No.", "Do.")),
            (r#"{"verdict":"warn","cause":"a\nb\u0000","remedy":"Do."}"#, answered(Verdict::Warn, "a b", "Do.")),
        ] {
            assert_eq!(External::read(output.as_bytes()), expected, "{output}");
        }
    }

    #[test]
    fn anything_else_is_a_failure() {
        for output in ["", "pass", "{}", r#"{"verdict":"PASS"}"#, r#"{"verdict":"pass"}{"verdict":"fail"}"#, "[1]"] {
            assert!(matches!(External::read(output.as_bytes()), External::Failed { .. }), "{output}");
        }
        assert!(matches!(External::read(b"\xff\xfe"), External::Failed { .. }));
        let External::Failed { why } = External::failed("x\u{1b}[31m\n".repeat(1000)) else { unreachable!() };
        assert!(why.len() <= MAX_TEXT && !why.contains(['\u{1b}', '\n']), "{why}");
    }
}
