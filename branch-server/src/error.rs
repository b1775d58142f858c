//! How errors become text: the whole chain at the edge, and nothing in it that a log, a database or a screen trips on.
//! What listeners answer is [`service_kit::server::ApiError`], one for the whole program.

use std::error::Error;

pub use service_kit::server::ApiError;

/// An error and its causes in one line. A cause that repeats what was said already is left out.
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        next = cause.source();
    }
    text
}

/// Text that may come from elsewhere (a tracker, a daemon), fit to be stored and shown: no control characters, no
/// more than a reason may have.
pub fn presentable(text: &str) -> String {
    let clean: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    wire::clip_reason(&clean).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("outer")]
    struct Outer(#[source] std::io::Error);

    #[test]
    fn the_chain_says_everything_once() {
        assert_eq!(chain(&Outer(std::io::Error::other("inner"))), "outer: inner");
        assert_eq!(chain(&Outer(std::io::Error::other("outer"))), "outer");
    }

    #[test]
    fn hostile_text_is_made_presentable() {
        assert_eq!(presentable("a\0b\nc"), "a b c");
        assert_eq!(presentable(&"x".repeat(5000)).len(), wire::MAX_REASON_LEN);
    }
}
