//! An error and its causes as text: pure, so that deciding modules may render reasons.

use std::error::Error;

/// An error and its causes on one line. A cause that repeats what was said already is left out.
pub fn chain(error: &dyn Error) -> String {
    texts(error).join(": ")
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
