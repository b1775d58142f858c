//! Where errors become text: on one line for a log or a reason, on several for people when a program ends.

use std::error::Error;
use std::fmt::Write;
use std::process::ExitCode;

use crate::causes::texts;
use crate::config::ConfigError;
use crate::output::{self, OutputError};
use crate::telemetry::TelemetryError;

pub use crate::causes::{chain, failures, is_disk_full};

/// Exit code: it failed.
pub const EXIT_FAILURE: u8 = 1;
/// Exit code: the arguments or the configuration cannot be used. Trying again does not help.
pub const EXIT_USAGE: u8 = 2;

/// The exit codes, for `--help`.
pub const EXIT_CODES: &str = "Exit codes:
  0  done, or stopped by a signal
  1  failed; standard error says why
  2  the arguments or the configuration cannot be used";

/// Says on standard error why `program` ends, each cause on its own line, and returns the exit code.
///
/// A closed standard output ends the command quietly: the reader has read what it wanted.
pub fn report(program: &str, error: &(dyn Error + 'static)) -> ExitCode {
    if whole(error).any(|e| e.downcast_ref().is_some_and(OutputError::is_closed)) {
        return ExitCode::SUCCESS;
    }
    output::complain(&told(program, error));
    ExitCode::from(exit_code(error))
}

/// The error and everything behind it.
fn whole<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |e: &&'a (dyn Error + 'static)| (*e).source())
}

fn told(program: &str, error: &dyn Error) -> String {
    let mut texts = texts(error).into_iter();
    let mut told = format!("{program}: {}\n", texts.next().unwrap_or_default());
    for cause in texts {
        // Parsers answer with a drawing of several lines: it stays together, under its first.
        let cause = cause.trim_end().replace('\n', "\n         ");
        // Writing to a String cannot fail.
        let _ = writeln!(told, "  cause: {cause}");
    }
    told
}

fn exit_code(error: &(dyn Error + 'static)) -> u8 {
    let unusable = |e: &(dyn Error + 'static)| {
        e.is::<ConfigError>() || matches!(e.downcast_ref(), Some(TelemetryError::Filter { .. }))
    };
    if whole(error).any(unusable) { EXIT_USAGE } else { EXIT_FAILURE }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("outer")]
    struct Outer<E: Error + 'static>(#[source] E);

    #[test]
    fn the_chain_says_everything_once() {
        assert_eq!(chain(&Outer(std::io::Error::other("inner"))), "outer: inner");
        assert_eq!(chain(&Outer(std::io::Error::other("outer"))), "outer");
    }

    #[test]
    fn failures_are_named_up_to_a_bound_and_the_others_counted() {
        let of = |count: usize| {
            let failed: Vec<_> = (0..count).map(|n| (format!("b{n}"), Outer(std::io::Error::other("inner")))).collect();
            failures(&failed)
        };
        assert_eq!(of(2), "b0 (outer: inner); b1 (outer: inner)");
        let (six, seven) = (of(6), of(7));
        assert!(six.contains("b4 (") && !six.contains("b5") && six.ends_with("; and 1 other"), "{six}");
        assert!(seven.ends_with("; and 2 others"), "{seven}");
    }

    #[test]
    fn a_full_disk_is_found_behind_other_causes() {
        for kind in [std::io::ErrorKind::StorageFull, std::io::ErrorKind::QuotaExceeded] {
            assert!(is_disk_full(&Outer(Outer(std::io::Error::from(kind)))));
        }
        assert!(!is_disk_full(&Outer(std::io::Error::other("no space left on device"))));
    }

    #[test]
    fn each_cause_has_a_line_and_a_drawing_stays_together() {
        let error = Outer(Outer(std::io::Error::other("first\nsecond\n")));
        assert_eq!(told("program", &error), "program: outer\n  cause: first\n         second\n");
    }

    #[test]
    fn a_configuration_is_told_from_a_failure_wherever_it_stands() {
        assert_eq!(exit_code(&Outer(ConfigError::bad("a.b", "is bad"))), EXIT_USAGE);
        assert_eq!(exit_code(&ConfigError::bad("a.b", "is bad")), EXIT_USAGE);
        assert_eq!(exit_code(&Outer(std::io::Error::other("inner"))), EXIT_FAILURE);
    }
}
