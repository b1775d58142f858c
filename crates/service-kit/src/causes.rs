//! An error and its causes as text: pure, so that deciding modules may render reasons.

use std::error::Error;
use std::fmt::Display;
use std::io;

/// An error and its causes on one line. A cause that repeats what was said already is left out.
pub fn chain(error: &dyn Error) -> String {
    texts(error).join(": ")
}

/// Most failures that [`failures`] names.
const MAX_NAMED: usize = 5;

/// Names what failed, each with its error and its causes; at most five, and a count of the others.
///
/// Such as `north (no key signs); south (no key signs)`.
pub fn failures<N: Display, E: Error>(failed: &[(N, E)]) -> String {
    let named = failed.iter().take(MAX_NAMED).map(|(name, error)| format!("{name} ({})", chain(error)));
    let named = named.collect::<Vec<_>>().join("; ");
    match failed.len().saturating_sub(MAX_NAMED) {
        0 => named,
        1 => format!("{named}; and 1 other"),
        others => format!("{named}; and {others} others"),
    }
}

/// Returns whether a full disk or an exhausted quota is among an error's causes.
pub fn is_disk_full(error: &(dyn Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(error) = error.downcast_ref::<io::Error>()
            && matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
        {
            return true;
        }
        next = error.source();
    }
    false
}

/// The texts of an error and its causes, from the outermost; a cause that an earlier text contains is left out.
pub(crate) fn texts(error: &dyn Error) -> Vec<String> {
    let mut texts = vec![error.to_string()];
    let mut next = error.source();
    while let Some(cause) = next {
        let text = cause.to_string();
        if !texts.iter().any(|said| said.contains(&text)) {
            texts.push(text);
        }
        next = cause.source();
    }
    texts
}
