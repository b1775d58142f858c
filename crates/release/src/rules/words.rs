//! Words of findings: lists and sentences.

use std::fmt::Display;

/// Lists the first few of `total` names, and how many more there are.
pub(crate) fn list(names: impl IntoIterator<Item = impl Display>, total: usize) -> String {
    const SHOWN: usize = 8;
    let shown: Vec<String> = names.into_iter().take(SHOWN).map(|n| n.to_string()).collect();
    match total.saturating_sub(shown.len()) {
        _ if total == 0 => "none".to_owned(),
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

/// Returns the first sentence, and how many more there are.
pub(crate) fn first_of(sentences: &[String]) -> String {
    match sentences {
        [] => String::new(),
        [one] => format!("{one}."),
        [first, rest @ ..] => format!("{first}; and {} more.", rest.len()),
    }
}
